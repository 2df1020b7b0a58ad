"""R-precision (Section 4): does an image match its own caption better than 99 captions of other classes?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dmgan.evaluation.metrics.folds import fold_of
from dmgan.evaluation.metrics.metric import Metric, Part, Score, Settings, Sums, Value, metrics

_ATTEMPTS = 1000  # draws again where one says the same as the own caption

__all__ = ["Distractors", "FoldCounts", "RPrecision", "matching_scores"]


class Distractors:
    """Draws mismatching captions: those of other classes than an image's own, which do not say the same either."""

    def __init__(self, classes: np.ndarray, texts: np.ndarray, count: int, seed: int) -> None:
        """`classes` and `texts` (captions,): the class of every caption, and a number for what it says."""
        self._texts, self._count, self._seed = texts, count, seed
        self._by_class = np.argsort(classes, kind="stable")
        self._sorted = classes[self._by_class]

    def of(self, index: int, class_id: int, text: int) -> np.ndarray:
        """`count` numbers of captions for image `index`: a function of seed and index alone.

        Raises ValueError where there are fewer.
        """
        first, last = np.searchsorted(self._sorted, [class_id, class_id + 1])
        others = len(self._sorted) - (last - first)
        if others < self._count:
            raise ValueError(f"R-precision needs {self._count} captions of other classes, the split has {others}")
        random = np.random.default_rng([self._seed, 3, index])
        for _ in range(_ATTEMPTS):
            drawn = random.choice(others, self._count, replace=False)
            found = self._by_class[drawn + (drawn >= first) * (last - first)]  # past the class's own
            if not (self._texts[found] == text).any():
                return found
        raise ValueError(f"R-precision: nearly all captions of other classes say what image {index}'s own does")


def matching_scores(codes: Tensor, own: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine of each image with its own caption (N,), and whether no other's is as large (N,): R-precision with R = 1.

    codes (N, N_w) of images; own (N, N_w) and others (N, C, N_w), sentences of unit length.
    """
    codes = F.normalize(codes, dim=1)
    scores = (codes * own).sum(1)
    wrong = torch.bmm(others, codes[:, :, None])[:, :, 0]
    return scores, scores > wrong.max(dim=1).values


@dataclass
class FoldCounts:
    """Images and hits of each fold; counts of two parts add."""

    n: np.ndarray  # (F,) int64
    hits: np.ndarray  # (F,) int64

    @classmethod
    def of(cls, found: np.ndarray, fold: np.ndarray, folds: int) -> FoldCounts:
        return cls(np.bincount(fold, minlength=folds), np.bincount(fold[found], minlength=folds))

    def __add__(self, other: FoldCounts) -> FoldCounts:
        return FoldCounts(self.n + other.n, self.hits + other.hits)

    def precision(self) -> tuple[float, float]:
        """Mean and standard deviation over the folds (0…1); empty folds are left out."""
        filled = self.n > 0
        values = self.hits[filled] / self.n[filled]
        return float(values.mean()), float(values.std())


class RPrecision(Metric):
    """R-precision by one judge, over the folds that the protocol asks for; of the real images as a ceiling.

    Keeps what it found of every image, in their order.
    """

    _OF_IMAGES = ("matching", "found")

    def __init__(self, judge: str, name: str, label: str) -> None:
        self._judge, self._name = judge, name
        self.scores = (Score(name, label, "share of images", "higher", percent=True),)

    def wanted(self, settings: Settings) -> bool:
        return self._judge in settings.judges

    def generated(self, part: Part, settings: Settings) -> Sums:
        ranked, folds = part.ranked[self._judge], settings.numbers.folds
        counts = FoldCounts.of(ranked.found, fold_of(part.indices, part.total, folds), folds)
        return {"n": counts.n, "hits": counts.hits, "matching": ranked.matching, "found": ranked.found}

    def real(self, part: Part, settings: Settings) -> Sums:
        return self.generated(part, settings)

    def add(self, one: Sums, other: Sums) -> Sums:
        return {
            name: np.concatenate([one[name], other[name]]) if name in self._OF_IMAGES else one[name] + other[name]
            for name in one
        }

    def result(self, generated: Sums, real: Sums, settings: Settings) -> dict[str, Value]:
        mean, std = FoldCounts(generated["n"], generated["hits"]).precision()
        return {self._name: {"mean": mean, "std": std}}

    def ceiling(self, real: Sums, settings: Settings) -> dict[str, Value]:
        return self.result(real, {}, settings)

    def protocol(self, settings: Settings) -> dict[str, object]:
        return {self._name: {"r": 1, "distractors": settings.numbers.distractors, "folds": settings.numbers.folds}}


metrics.register("r_precision", RPrecision("damsm", "r_precision", "R-precision"))
metrics.register("judge_r_precision", RPrecision("judge", "judge_r_precision", "R-precision, independent judge"))
metrics.register("clip_r_precision", RPrecision("clip", "clip_r_precision", "R-precision, CLIP"))
