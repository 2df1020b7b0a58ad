"""Scoring parts of the evaluation's images: sums that any number of workers add up.

Which caption, noise and distractors image k has is a function of the seed and k alone, so the parts may be cut anyhow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import storage
from datasets.captions import load_captions
from datasets.manifest import load_manifest
from datasets.stream import open_images
from dmgan.config import Config
from dmgan.drawing.request import normal_draws
from dmgan.evaluation.features import DAMSM, DamsmFeatures, FidelityFeatures
from dmgan.evaluation.metrics import Part
from dmgan.evaluation.metrics.r_precision import Distractors, matching_scores
from dmgan.evaluation.protocol import SPLIT, settings, wanted_metrics
from dmgan.evaluation.sums import PartSums
from dmgan.model.folding import keep_folded
from dmgan.model.generator import Generator
from dmgan.pixels import png, quantised, to_unit
from dmgan.runs.reading import read_options
from dmgan.runs.run import Run
from dmgan.seeds import seed_of
from dmgan.training.batch import caption_tensors

__all__ = ["CaptionEncoder", "Evaluator", "UnseenCaptions"]

_ENCODED_TOGETHER = 512
_MATCHED_TOGETHER = 256  # images, each with its distractors' sentences


class UnseenCaptions:
    """Every caption of the test split, and which of them each generated image is of."""

    def __init__(self, url: str, seed: int) -> None:
        entries = list(load_captions(url, SPLIT))
        self.texts = [text for entry in entries for text in entry.captions]
        self.classes = np.array([entry.class_id for entry in entries for _ in entry.captions])
        self._order = np.random.default_rng([seed, 1]).permutation(len(self.texts))
        self.class_names = {entry.class_id: entry.class_name for entry in entries}

    def of(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The numbers of the captions of images `indices`: all in an order drawn by the seed, again and again."""
        return self._order[np.asarray(indices) % len(self._order)]


class CaptionEncoder:
    """A run's encoders and every test caption: what an evaluation has before the captions are encoded."""

    def __init__(self, config: Config, run: Run, device: torch.device) -> None:
        self.config, self.device = config, device
        manifest, _ = load_manifest(config.data.url)
        self.settings = settings(config, manifest.name)
        self.encoders = run.load_encoders(config).to(device)
        keep_folded(self.encoders)
        self.captions = UnseenCaptions(config.data.url, config.evaluate.seed)
        # Captions that say the same are encoded once.
        texts = list(dict.fromkeys(self.captions.texts))
        where = {text: i for i, text in enumerate(texts)}
        self.distinct = np.array([where[text] for text in self.captions.texts])  # of each caption its distinct text
        self.ids, self.lengths = caption_tensors(texts, run.read_tokenizer(config), config.evaluate.max_words)
        self.fidelity = None if config.evaluate.features == DAMSM else FidelityFeatures(config.evaluate, device)

    @torch.no_grad()
    def feature_dimensions(self) -> int:
        """Of what FID is on."""
        if self.fidelity is None:
            return self.config.model.word_dim
        size = self.config.model.image_sizes[-1]
        black = torch.zeros(2, 3, size, size, dtype=torch.uint8, device=self.device)
        return self.fidelity(black)[0].shape[1]

    @property
    def distinct_captions(self) -> int:
        return len(self.lengths)

    @torch.no_grad()
    def encode(self, first: int, last: int) -> Tensor:
        """Sentences of the distinct captions [first, last): (last − first, N_w)."""
        parts = []
        for start in range(first, last, _ENCODED_TOGETHER):
            part = slice(start, min(start + _ENCODED_TOGETHER, last))
            parts.append(self.encoders.text(self.ids[part].to(self.device), self.lengths[part])[1])
        return torch.cat(parts) if parts else torch.zeros(0, self.config.model.word_dim, device=self.device)


class Evaluator:
    """A generator, and the sentences of all distinct captions: ready to score any range of images."""

    def __init__(self, encoder: CaptionEncoder, generator: Generator, sentences: Tensor) -> None:
        """`sentences` (distinct captions, N_w) are what `encoder.encode` gave, on this worker or on several."""
        self.encoder, self.captions, self.device = encoder, encoder.captions, encoder.device
        self.config, self.settings = encoder.config, encoder.settings
        self.metrics = wanted_metrics(self.settings)
        self.generator = generator.to(self.device)
        sentences = sentences.to(self.device)
        self._unit_sentences = F.normalize(sentences, dim=1)
        self._damsm = DamsmFeatures(self._prototypes(sentences), self.config.objective.gamma3)
        seed, wrong = self.config.evaluate.seed, self.settings.numbers.distractors
        self._distractors = Distractors(self.captions.classes, encoder.distinct, wrong, seed)

    def _prototypes(self, sentences: Tensor) -> Tensor:
        """The mean sentence of every class: (classes, N_w)."""
        groups = [np.flatnonzero(self.captions.classes == c) for c in np.unique(self.captions.classes)]
        return torch.stack([sentences[torch.from_numpy(self.encoder.distinct[group])].mean(0) for group in groups])

    @torch.no_grad()
    def score(self, first: int, last: int, save_images: str | None = None) -> PartSums:
        """Generate and score the images [first, last); they are written to `save_images` if it is given."""
        size = self.config.evaluate.batch_size
        images, columns = [], []
        for indices in (range(i, min(i + size, last)) for i in range(first, last, size)):
            images.append(self.images(indices))
            if save_images is not None:
                _save(images[-1], indices, save_images)
            columns.append(self.judge(images[-1]))
        features, logits, codes = (torch.cat(column) for column in zip(*columns, strict=True))
        whole = np.arange(first, last)
        matching, found = self.match(codes, whole)
        part = Part(
            indices=whole,
            images=torch.cat(images),
            captions=[self.captions.texts[c] for c in self.captions.of(whole)],
            features=features,
            logits=logits,
            matching=matching.cpu().numpy(),
            found=found.cpu().numpy(),
        )
        return {name: metric.generated(part, self.settings) for name, metric in self.metrics.items()}

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of uint8 images: features, logits, and DAMSM's codes."""
        codes = self.codes(images)
        return *self.features(images, codes), codes

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """DAMSM's codes (N, N_w) of uint8 images (N, 3, H, W)."""
        code: Tensor = self.encoder.encoders.image(to_unit(images))[1]
        return code

    @torch.no_grad()
    def features(self, images: Tensor, codes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features (N, D) of FID and logits (N, K) of IS of uint8 images, which may have these codes."""
        if self.encoder.fidelity is not None:
            return self.encoder.fidelity(images)
        return self._damsm(self.codes(images) if codes is None else codes)

    def match(self, codes: Tensor, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Matching scores (N,) of the images' codes (N, N_w), and whether R-precision counts them (N,)."""
        captions, distinct = self.captions.of(indices), self.encoder.distinct
        parts = []
        for start in range(0, len(indices), _MATCHED_TOGETHER):
            part = slice(start, start + _MATCHED_TOGETHER)
            own, classes = distinct[captions[part]], self.captions.classes[captions[part]]
            wrong = distinct[self._distractors.of(indices[part], classes, own)]
            sentences = (
                F.embedding(torch.from_numpy(each).to(self.device), self._unit_sentences) for each in (own, wrong)
            )
            parts.append(matching_scores(codes[part], *sentences))
        matching, found = (torch.cat(column) for column in zip(*parts, strict=True))
        return matching, found

    @torch.no_grad()
    def images(self, indices: Sequence[int]) -> Tensor:
        """The generated images `indices`: uint8 (N, 3, H, W)."""
        dims = (self.generator.noise_dim, self.generator.condition_dim)
        seed = self.config.evaluate.seed
        draws = normal_draws([seed_of(seed, k) for k in indices], sum(dims))
        noise, eps = draws.to(self.device).split(dims, dim=1)
        chosen = torch.from_numpy(self.encoder.distinct[self.captions.of(indices)])
        ids = self.encoder.ids[chosen].to(self.device)
        words, sentence = self.encoder.encoders.text(ids, self.encoder.lengths[chosen])
        return quantised(self.generator(noise, sentence, words, ids == 0, eps).images[-1])

    @torch.no_grad()
    def real(self, first: int, last: int) -> PartSums:
        """The real test images [first, last) in stored order."""
        url, options = self.config.data.url, read_options(self.config.data)
        size = self.config.evaluate.batch_size
        features = torch.cat(
            [self.features(images.to(self.device))[0] for images in open_images(url, SPLIT, size, first, last, options)]
        )
        return {name: metric.real(features, self.settings) for name, metric in self.metrics.items()}


def _save(images: Tensor, indices: Sequence[int], folder: str) -> None:
    for k, pixels in zip(indices, images.permute(0, 2, 3, 1).cpu().numpy(), strict=True):
        storage.write_bytes(storage.join(folder, f"{k:06d}.png"), png(pixels))
