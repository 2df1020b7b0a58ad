"""Scoring parts of the evaluation's images: sums that any number of workers add up.

Which caption, noise and distractors image k has is a function of the seed and k alone, so the parts may be cut anyhow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datasets import storage
from datasets.manifest import load_manifest
from datasets.stream import open_images
from dmgan.config import Config
from dmgan.drawing.request import normal_draws
from dmgan.evaluation.captions import UnseenCaptions
from dmgan.evaluation.features import DAMSM, DamsmFeatures, FidelityFeatures
from dmgan.evaluation.judges import OWN, DamsmJudge, judges_of
from dmgan.evaluation.metrics import Part
from dmgan.evaluation.protocol import SPLIT, settings, wanted_metrics
from dmgan.evaluation.ranking import Ranking
from dmgan.evaluation.sums import PartSums
from dmgan.model.generator import Generator
from dmgan.pixels import png, quantised
from dmgan.runs.reading import read_options
from dmgan.runs.run import Run
from dmgan.seeds import seed_of

__all__ = ["CaptionEncoder", "Evaluator"]

_ENCODED_TOGETHER = 512


class CaptionEncoder:
    """A run's encoders and every test caption: what an evaluation has before the captions are encoded."""

    def __init__(self, config: Config, run: Run, device: torch.device) -> None:
        self.config, self.device = config, device
        manifest, _ = load_manifest(config.data.url)
        self.captions = UnseenCaptions(config.data.url, config.evaluate.seed)
        self.settings = settings(config, manifest.name, self.captions.distractors)
        texts, self.distinct = self.captions.distinct_texts, self.captions.distinct
        self.own = DamsmJudge(run, config, texts, config.evaluate, device)
        self.judges = judges_of(config, run, self.own, texts, device)
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
        return len(self.own.lengths)

    def encode(self, first: int, last: int) -> Tensor:
        """Sentences of the distinct captions [first, last) by all judges, side by side: (last − first, Σ D)."""
        parts = []
        for start in range(first, last, _ENCODED_TOGETHER):
            end = min(start + _ENCODED_TOGETHER, last)
            parts.append(torch.cat([judge.sentences(start, end) for judge in self.judges.values()], dim=1))
        width = sum(judge.dimensions for judge in self.judges.values())
        return torch.cat(parts) if parts else torch.zeros(0, width, device=self.device)


class Evaluator:
    """A generator, and the sentences of all distinct captions: ready to score any range of images."""

    def __init__(self, encoder: CaptionEncoder, generator: Generator, sentences: Tensor) -> None:
        """`sentences` (distinct captions, Σ D) are what `encoder.encode` gave, on this worker or on several."""
        self.encoder, self.captions, self.device = encoder, encoder.captions, encoder.device
        self.config, self.settings = encoder.config, encoder.settings
        self.metrics = wanted_metrics(self.settings)
        self.generator = generator.to(self.device)
        sentences = sentences.to(self.device)
        by_judge = sentences.split([judge.dimensions for judge in encoder.judges.values()], dim=1)
        self._damsm = DamsmFeatures(self._prototypes(by_judge[0]), self.config.objective.gamma3)
        self.ranking = Ranking(
            self.captions,
            encoder.judges,
            dict(zip(encoder.judges, by_judge, strict=True)),
            self.settings.numbers.distractors,
            self.config.evaluate.seed,
            self.config.evaluate.batch_size,
        )

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
            columns.append(self._judged(images[-1]))
        whole = np.arange(first, last)
        part = self._part(columns, torch.cat(images), whole, self.captions.of(whole), self.settings.numbers.images)
        return {name: metric.generated(part, self.settings) for name, metric in self.metrics.items()}

    def _judged(self, images: Tensor) -> _Judged:
        """What is computed of a batch of uint8 images."""
        codes = {name: judge.quick_codes(images) for name, judge in self.encoder.judges.items()}
        return _Judged(*self.features(images, codes[OWN]), codes)

    def _part(
        self,
        columns: Sequence[_Judged],
        images: Tensor,
        indices: np.ndarray,
        captions: np.ndarray,
        total: int,
    ) -> Part:
        """The batches' columns together with their images, `indices` of `total`, whose captions have these numbers."""
        ranked = {}
        for name in self.encoder.judges:
            codes = torch.cat([column.codes[name] for column in columns])
            ranked[name] = self.ranking.ranked(name, codes, images, indices, captions)
        return Part(
            indices=indices,
            total=total,
            images=images,
            captions=[self.captions.texts[c] for c in captions],
            features=torch.cat([column.features for column in columns]),
            logits=torch.cat([column.logits for column in columns]),
            ranked=ranked,
        )

    def codes(self, images: Tensor) -> Tensor:
        """DAMSM's codes (N, N_w) of uint8 images (N, 3, H, W)."""
        return self.encoder.own.codes(images)

    @torch.no_grad()
    def features(self, images: Tensor, codes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features (N, D) of FID and logits (N, K) of IS of uint8 images, which may have these codes."""
        if self.encoder.fidelity is not None:
            return self.encoder.fidelity(images)
        return self._damsm(self.codes(images) if codes is None else codes)

    @torch.no_grad()
    def images(self, indices: Sequence[int]) -> Tensor:
        """The generated images `indices`: uint8 (N, 3, H, W)."""
        dims = (self.generator.noise_dim, self.generator.condition_dim)
        seed = self.config.evaluate.seed
        draws = normal_draws([seed_of(seed, k) for k in indices], sum(dims))
        noise, eps = draws.to(self.device).split(dims, dim=1)
        chosen = torch.from_numpy(self.encoder.distinct[self.captions.of(indices)])
        own = self.encoder.own
        ids = own.ids[chosen].to(self.device)
        words, sentence = own.encoders.text(ids, own.lengths[chosen])
        return quantised(self.generator(noise, sentence, words, ids == 0, eps).images[-1])

    @torch.no_grad()
    def real(self, first: int, last: int) -> PartSums:
        """The real test images [first, last) in stored order."""
        url, options = self.config.data.url, read_options(self.config.data)
        size = self.config.evaluate.batch_size
        shown, columns = list[Tensor](), list[_Judged]()
        for images in open_images(url, SPLIT, size, first, last, options):
            shown.append(images.to(self.device))
            columns.append(self._judged(shown[-1]))
        whole = np.arange(first, last)
        part = self._part(columns, torch.cat(shown), whole, self.captions.of_real(whole), self.captions.images)
        return {name: metric.real(part, self.settings) for name, metric in self.metrics.items()}


@dataclass(frozen=True)
class _Judged:
    """What is computed of a batch of images."""

    features: Tensor
    logits: Tensor
    codes: dict[str, Tensor]  # by judge


def _save(images: Tensor, indices: Sequence[int], folder: str) -> None:
    for k, pixels in zip(indices, images.permute(0, 2, 3, 1).cpu().numpy(), strict=True):
        storage.write_bytes(storage.join(folder, f"{k:06d}.png"), png(pixels))
