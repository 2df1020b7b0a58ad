"""Scoring part of the evaluation's images: sums for IS, FID, R-precision that any number of workers add up.

Which caption, noise and distractors image k has is a function of the seed and k alone, so the parts may be cut anyhow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.manifest import load_captions
from datasets.stream import open_images
from dmgan.config import Config
from dmgan.metrics.colour_accuracy import colour_hits
from dmgan.metrics.features import DamsmFeatures, Extractor, InceptionFeatures
from dmgan.metrics.fid import FeatureSums, frechet_distance
from dmgan.metrics.inception_score import InceptionSums
from dmgan.metrics.r_precision import FoldCounts, distractors, hits
from dmgan.run import Run
from dmgan.samples import to_pixels
from dmgan.seeds import seed_of
from dmgan.text import caption_tensors

__all__ = ["Evaluator", "Sums", "protocol", "scores"]

SPLIT = "test"


@dataclass
class Sums:
    """What a part of the generated images contributes."""

    features: FeatureSums
    inception: InceptionSums
    r_precision: FoldCounts
    colour: np.ndarray  # images whose caption names a body colour, and those that have it: (2,)

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.features + other.features,
            self.inception + other.inception,
            self.r_precision + other.r_precision,
            self.colour + other.colour,
        )


class Evaluator:
    """A run's generator and encoders with every test caption, ready to score any range of images."""

    def __init__(self, config: Config, run: Run, device: torch.device) -> None:
        self.config, self.device = config, device
        self.options = config.evaluate
        self.generator = run.load_generator().to(device)
        self.encoders = run.load_encoders(config).to(device)
        entries = load_captions(config.data.url, SPLIT)
        self.texts = [text for entry in entries for text in entry.captions]
        self.classes = np.array([entry.class_id for entry in entries for _ in entry.captions])
        self.numbers, self.lengths = caption_tensors(self.texts, run.read_vocabulary(), self.options.max_words)
        self.sentences = self._encode_all()
        self.order = np.random.default_rng([self.options.seed, 1]).permutation(len(self.texts))
        self.extractor = self._extractor()

    def _extractor(self) -> Extractor:
        if self.options.features == "inception-v3":
            return InceptionFeatures(str(self.options.inception_weights), self.device)
        groups = [np.flatnonzero(self.classes == c) for c in np.unique(self.classes)]
        prototypes = torch.stack([self.sentences[torch.from_numpy(group)].mean(0) for group in groups])
        return DamsmFeatures(self.encoders, prototypes, self.config.objective.gamma3)

    @torch.no_grad()
    def _encode_all(self) -> Tensor:
        """Every distinct caption once: (captions, N_w)."""
        parts = []
        for first in range(0, len(self.numbers), 512):
            part = slice(first, first + 512)
            parts.append(self.encoders.text(self.numbers[part].to(self.device), self.lengths[part])[1])
        return torch.cat(parts)

    def score(self, first: int, last: int) -> Sums:
        """Generate and score the images [first, last)."""
        size = self.options.batch_size
        parts = [self._score_batch(range(i, min(i + size, last))) for i in range(first, last, size)]
        return sum(parts[1:], parts[0])

    @torch.no_grad()
    def _score_batch(self, indices: range) -> Sums:
        captions = self.order[np.array(indices) % len(self.order)]
        images = torch.from_numpy(to_pixels(self._generate(indices, captions))).permute(0, 3, 1, 2).to(self.device)
        features, logits = self.extractor(images)
        part = np.array(indices) * self.options.folds // self.options.images
        birds = self.config.data.draw_birds  # elsewhere a caption's colour need not be where theirs is
        colour = colour_hits(images.float() / 127.5 - 1, [self.texts[c] for c in captions]) if birds else []
        return Sums(
            FeatureSums.of(features),
            InceptionSums.of(logits, part, self.options.folds),
            FoldCounts.of(self._matches(images, indices, captions), part, self.options.folds),
            np.array([len(colour), sum(colour)]),
        )

    def _generate(self, indices: Sequence[int], captions: np.ndarray) -> Tensor:
        dims = (self.generator.noise_dim, self.generator.condition_dim)
        draws = [
            torch.randn(sum(dims), generator=torch.Generator().manual_seed(seed_of(self.options.seed, k)))
            for k in indices
        ]
        noise, eps = torch.stack(draws).to(self.device).split(dims, dim=1)
        chosen = torch.from_numpy(captions)
        numbers = self.numbers[chosen].to(self.device)
        words, sentence = self.encoders.text(numbers, self.lengths[chosen])
        images: Tensor = self.generator(noise, sentence, words, numbers == 0, eps).images[-1]
        return images

    def _matches(self, images: Tensor, indices: Sequence[int], captions: np.ndarray) -> np.ndarray:
        _, codes = self.encoders.image(images.float() / 127.5 - 1)
        wrong = np.stack(
            [
                distractors(k, int(self.classes[c]), self.classes, self.options.distractors, self.options.seed)
                for k, c in zip(indices, captions, strict=True)
            ]
        )
        return hits(codes, self.sentences[torch.from_numpy(captions)], self.sentences[torch.from_numpy(wrong)])

    @torch.no_grad()
    def real(self, rank: int, world_size: int) -> FeatureSums:
        """Features of this worker's share of the real test images."""
        batches = open_images(self.config.data.url, SPLIT, self.options.batch_size, rank, world_size)
        # Of no image, where there are more workers than images, the sums are of the extractor's width all the same.
        size = self.config.model.image_sizes[-1]
        nothing = self.extractor(torch.zeros(1, 3, size, size, dtype=torch.uint8, device=self.device))[0][:0]
        parts = [FeatureSums.of(self.extractor(images.to(self.device))[0]) for images in batches]
        return sum(parts, FeatureSums.of(nothing))


def protocol(config: Config) -> dict[str, Any]:
    """What the scores depend on besides the weights."""
    return {"data": config.data.url, **config.evaluate.model_dump(exclude={"enabled", "batch_size"})}


def scores(config: Config, generated: Sums, real: FeatureSums) -> dict[str, Any]:
    """evaluation.json's scores from the whole's sums."""
    options = config.evaluate
    inception, precision = generated.inception.score(), generated.r_precision.precision()
    result: dict[str, Any] = {
        "fid": frechet_distance(generated.features, real),
        "inception_score": {"mean": inception[0], "std": inception[1]},
        "r_precision": {"mean": precision[0], "std": precision[1]},
        "images": generated.features.n,
        "features": options.features,
        "protocol": protocol(config),
    }
    if generated.colour[0]:
        result["colour_accuracy"] = float(generated.colour[1] / generated.colour[0])
    return result
