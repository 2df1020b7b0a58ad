"""Scoring parts of the evaluation's images: sums for IS, FID, R-precision that any number of workers add up.

Which caption, noise and distractors image k has is a function of the seed and k alone, so the parts may be cut anyhow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import storage
from datasets.manifest import load_captions
from datasets.stream import open_images
from dmgan.config import Config
from dmgan.evaluation.features import DAMSM, DamsmFeatures, Extractor, FidelityFeatures
from dmgan.evaluation.metrics.colour_accuracy import colour_hits
from dmgan.evaluation.metrics.fid import FeatureSums, Moments, frechet_distance
from dmgan.evaluation.metrics.folds import fold_of
from dmgan.evaluation.metrics.gathered import kernel_inception_distance, precision_recall
from dmgan.evaluation.metrics.inception_score import InceptionSums
from dmgan.evaluation.metrics.r_precision import Distractors, FoldCounts, matching_scores
from dmgan.evaluation.protocol import SPLIT, numbers
from dmgan.model.generator import Generator
from dmgan.pixels import png, quantised, to_unit
from dmgan.runs.reading import read_options
from dmgan.runs.run import Run
from dmgan.seeds import seed_of
from dmgan.training.batch import caption_tensors

__all__ = ["Evaluator", "GeneratedSums", "RealSums", "UnseenCaptions", "from_bytes", "scores", "to_bytes"]

_ENCODED_TOGETHER = 512


@dataclass
class RealSums:
    """What a part of the real images contributes."""

    features: FeatureSums
    gathered: np.ndarray  # (n, D) float32 features, (0, D) unless KID or precision and recall are wanted

    def __add__(self, other: RealSums) -> RealSums:
        return RealSums(self.features + other.features, np.concatenate([self.gathered, other.gathered]))


@dataclass
class GeneratedSums:
    """What a part of the generated images contributes; the last four are of single images, in their order."""

    features: FeatureSums
    inception: InceptionSums
    r_precision: FoldCounts
    colour: np.ndarray  # images whose caption names a body colour, and those that have it: (2,)
    matching: np.ndarray  # (n,) cosine of the image with its caption
    found: np.ndarray  # (n,) whether no mismatching caption's is as large
    gathered: np.ndarray  # (n, D) or (0, D)

    def __add__(self, other: GeneratedSums) -> GeneratedSums:
        return GeneratedSums(
            self.features + other.features,
            self.inception + other.inception,
            self.r_precision + other.r_precision,
            self.colour + other.colour,
            np.concatenate([self.matching, other.matching]),
            np.concatenate([self.found, other.found]),
            np.concatenate([self.gathered, other.gathered]),
        )


_S = TypeVar("_S", RealSums, GeneratedSums)


def to_bytes(sums: RealSums | GeneratedSums) -> bytes:
    """As safetensors, to be kept until the whole is there."""
    return safetensors.numpy.save(_arrays(sums))


def _arrays(value: Any, name: str = "") -> dict[str, np.ndarray]:
    if not is_dataclass(value):
        return {name: np.ascontiguousarray(value)}
    parts = (_arrays(getattr(value, f.name), f"{name}.{f.name}".lstrip(".")) for f in fields(value))
    return {key: array for part in parts for key, array in part.items()}


def from_bytes(kind: type[_S], content: bytes) -> _S:
    """Raises ValueError or SafetensorError where it is not what `to_bytes` gave."""
    arrays = safetensors.numpy.load(content)
    parts: dict[str, Any] = {"features": FeatureSums, "inception": InceptionSums, "r_precision": FoldCounts}
    values: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in parts:
            inner = {f.name: arrays[f"{field.name}.{f.name}"] for f in fields(parts[field.name])}
            values[field.name] = parts[field.name](**inner)
        else:
            values[field.name] = arrays[field.name]
    values["features"].n = int(values["features"].n.item())
    return kind(**values)


class UnseenCaptions:
    """Every caption of the test split, and which of them each generated image is of."""

    def __init__(self, url: str, seed: int) -> None:
        entries = load_captions(url, SPLIT)
        self.texts = [text for entry in entries for text in entry.captions]
        self.classes = np.array([entry.class_id for entry in entries for _ in entry.captions])
        self._order = np.random.default_rng([seed, 1]).permutation(len(self.texts))
        # CUB's keys begin with the class's folder
        self.class_names = {e.class_id: e.key.rpartition("/")[0] or str(e.class_id) for e in entries}

    def of(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The numbers of the captions of images `indices`: all in an order drawn by the seed, again and again."""
        return self._order[np.asarray(indices) % len(self._order)]


class Evaluator:
    """A generator and a run's encoders with every test caption, ready to score any range of images."""

    def __init__(self, config: Config, run: Run, generator: Generator, device: torch.device) -> None:
        self.config, self.device = config, device
        self.options, self.numbers = config.evaluate, numbers(config.evaluate)
        self.generator = generator.to(device)
        self.encoders = run.load_encoders(config).to(device)
        self.captions = UnseenCaptions(config.data.url, self.options.seed)
        # Captions that say the same are encoded once.
        distinct = list(dict.fromkeys(self.captions.texts))
        where = {text: i for i, text in enumerate(distinct)}
        self._distinct = np.array([where[text] for text in self.captions.texts])
        self._words, self._lengths = caption_tensors(distinct, run.read_tokenizer(config.model), self.options.max_words)
        self._distractors = Distractors(
            self.captions.classes, self._distinct, self.numbers.distractors, self.options.seed
        )
        self._fidelity = None if self.options.features == DAMSM else FidelityFeatures(self.options, device)

    @torch.no_grad()
    def feature_dimensions(self) -> int:
        """Of what FID is on."""
        if self._fidelity is None:
            return self.config.model.word_dim
        size = self.config.model.image_sizes[-1]
        black = torch.zeros(2, 3, size, size, dtype=torch.uint8, device=self.device)
        return self._fidelity(black, black)[0].shape[1]

    @property
    def distinct_captions(self) -> int:
        return len(self._lengths)

    @torch.no_grad()
    def encode(self, first: int, last: int) -> Tensor:
        """Sentences of the distinct captions [first, last): (last − first, N_w)."""
        parts = []
        for start in range(first, last, _ENCODED_TOGETHER):
            part = slice(start, min(start + _ENCODED_TOGETHER, last))
            parts.append(self.encoders.text(self._words[part].to(self.device), self._lengths[part])[1])
        return torch.cat(parts) if parts else torch.zeros(0, self.config.model.word_dim, device=self.device)

    def use(self, sentences: Tensor) -> None:
        """Take the sentences of all distinct captions, which `encode` gave on this worker or on several."""
        sentences = sentences.to(self.device)
        self._unit_sentences = F.normalize(sentences, dim=1)
        self.extractor: Extractor = self._fidelity or DamsmFeatures(
            self._prototypes(sentences), self.config.objective.gamma3
        )

    def _prototypes(self, sentences: Tensor) -> Tensor:
        """The mean sentence of every class: (classes, N_w)."""
        groups = [np.flatnonzero(self.captions.classes == c) for c in np.unique(self.captions.classes)]
        return torch.stack([sentences[torch.from_numpy(self._distinct[group])].mean(0) for group in groups])

    @torch.no_grad()
    def score(self, first: int, last: int, save_images: str | None = None) -> GeneratedSums:
        """Generate and score the images [first, last); they are written to `save_images` if it is given."""
        size = self.options.batch_size
        batches = [range(i, min(i + size, last)) for i in range(first, last, size)]
        columns: list[list[Tensor]] = [[], [], [], []]
        colour: list[bool] = []
        for indices in batches:
            images = self.images(indices)
            if save_images is not None:
                _save(images, indices, save_images)
            for column, values in zip(columns, self._judge(images, indices), strict=True):
                column.append(values)
            colour += self._colours(images, indices)
        features, logits, matching, found = (torch.cat(column) for column in columns)
        hits = found.cpu().numpy()
        whole, own = np.arange(first, last), self.numbers
        return GeneratedSums(
            FeatureSums.of(features),
            InceptionSums.of(logits, fold_of(whole, own.images, own.splits), own.splits),
            FoldCounts.of(hits, fold_of(whole, own.images, own.folds), own.folds),
            np.array([len(colour), sum(colour)]),
            matching.cpu().numpy(),
            hits,
            self._gathered(features),
        )

    def _judge(self, images: Tensor, indices: range) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of uint8 images: features, logits, and their match with their captions against the distractors'."""
        _, codes = self.encoders.image(to_unit(images))
        features, logits = self.extractor(images, codes)
        return features, logits, *self.match(codes, indices)

    def match(self, codes: Tensor, indices: range) -> tuple[Tensor, Tensor]:
        """Matching scores (N,) of the images' codes (N, N_w), and whether R-precision counts them (N,)."""
        captions = self.captions.of(indices)
        own_classes, own_texts = self.captions.classes[captions].tolist(), self._distinct[captions].tolist()
        drawn = zip(indices, own_classes, own_texts, strict=True)
        wrong = np.stack([self._distractors.of(*each) for each in drawn])
        own, others = (torch.from_numpy(self._distinct[numbers]).to(self.device) for numbers in (captions, wrong))
        return matching_scores(codes, self._unit_sentences[own], self._unit_sentences[others])

    def _colours(self, images: Tensor, indices: range) -> list[bool]:
        if not self.config.data.draw_birds:  # elsewhere a caption's colour need not be where theirs is
            return []
        return colour_hits(images, [self.captions.texts[c] for c in self.captions.of(indices)])

    def _gathered(self, features: Tensor) -> np.ndarray:
        wanted = self.options.kid or self.options.precision_recall
        return (features if wanted else features[:0]).float().cpu().numpy()

    @torch.no_grad()
    def images(self, indices: Sequence[int]) -> Tensor:
        """The generated images `indices`: uint8 (N, 3, H, W)."""
        dims = (self.generator.noise_dim, self.generator.condition_dim)
        draws = [
            torch.randn(sum(dims), generator=torch.Generator().manual_seed(seed_of(self.options.seed, k)))
            for k in indices
        ]
        noise, eps = torch.stack(draws).to(self.device).split(dims, dim=1)
        chosen = torch.from_numpy(self._distinct[self.captions.of(indices)])
        numbers = self._words[chosen].to(self.device)
        words, sentence = self.encoders.text(numbers, self._lengths[chosen])
        return quantised(self.generator(noise, sentence, words, numbers == 0, eps).images[-1])

    @torch.no_grad()
    def real(self, first: int, last: int) -> RealSums:
        """The real test images [first, last) in stored order."""
        url, options = self.config.data.url, read_options(self.config.data)
        features = []
        for images in open_images(url, SPLIT, self.options.batch_size, first, last, options):
            on_device = images.to(self.device)
            codes = self.encoders.image(to_unit(on_device))[1] if self._fidelity is None else on_device
            features.append(self.extractor(on_device, codes)[0])
        whole = torch.cat(features)
        return RealSums(FeatureSums.of(whole), self._gathered(whole))


def _save(images: Tensor, indices: Sequence[int], folder: str) -> None:
    for k, pixels in zip(indices, images.permute(0, 2, 3, 1).cpu().numpy(), strict=True):
        storage.write_bytes(storage.join(folder, f"{k:06d}.png"), png(pixels))


def scores(config: Config, generated: GeneratedSums, real: RealSums | Moments) -> dict[str, Any]:
    """evaluation.json's scores from the whole's sums."""
    options = config.evaluate
    inception, precision = generated.inception.score(), generated.r_precision.precision()
    moments = real if isinstance(real, Moments) else real.features.moments()
    result: dict[str, Any] = {
        "fid": frechet_distance(generated.features.moments(), moments),
        "inception_score": {"mean": inception[0], "std": inception[1]},
        "r_precision": {"mean": precision[0], "std": precision[1]},
    }
    if options.kid and isinstance(real, RealSums):
        mean, std = kernel_inception_distance(generated.gathered, real.gathered)
        result["kid"] = {"mean": mean, "std": std}
    if options.precision_recall and isinstance(real, RealSums):
        result["precision"], result["recall"] = precision_recall(generated.gathered, real.gathered)
    if generated.colour[0]:
        result["colour_accuracy"] = float(generated.colour[1] / generated.colour[0])
    return result
