"""R-precision (Section 4): does an image match its own caption better than 99 captions of other classes?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Distractors", "FoldCounts", "matching_scores"]


class Distractors:
    """Draws mismatching captions: those of other classes than an image's own."""

    def __init__(self, classes: np.ndarray, count: int, seed: int) -> None:
        """`classes` (captions,): the class of every caption."""
        self._classes, self._count, self._seed = classes, count, seed
        self._others: dict[int, np.ndarray] = {}

    def of(self, index: int, class_id: int) -> np.ndarray:
        """`count` numbers of captions of other classes than `class_id`: a function of seed and image index alone.

        Raises ValueError where there are fewer.
        """
        if class_id not in self._others:
            self._others[class_id] = np.flatnonzero(self._classes != class_id)
        others = self._others[class_id]
        if len(others) < self._count:
            raise ValueError(f"R-precision needs {self._count} captions of other classes, the split has {len(others)}")
        drawn = np.random.default_rng([self._seed, 3, index]).choice(len(others), self._count, replace=False)
        return others[drawn]


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
