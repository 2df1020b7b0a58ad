"""R-precision (Section 4): does an image match its own caption better than 99 captions of other classes?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dmgan.matching import sentence_scores

__all__ = ["FoldCounts", "distractors", "hits"]


def distractors(index: int, class_id: int, classes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` numbers of captions whose class (in `classes`, one a caption) is not `class_id`.

    A function of seed and image index alone. Raises ValueError where there are fewer.
    """
    others = np.flatnonzero(classes != class_id)
    if len(others) < count:
        raise ValueError(f"R-precision needs {count} captions of other classes, the split has {len(others)}")
    return np.random.default_rng([seed, 3, index]).choice(others, count, replace=False)


def hits(codes: Tensor, own: Tensor, others: Tensor) -> np.ndarray:
    """Whether each image's own caption is the nearest by cosine (R = 1): (N,) bool.

    codes (N, N_w) of images, own (N, N_w) sentences, others (N, C, N_w) sentences.
    """
    found = []
    for code, sentence, wrong in zip(codes, own, others, strict=True):
        score = sentence_scores(code[None], sentence[None])[0, 0]
        found.append(bool(score > sentence_scores(code[None], wrong)[0].max()))
    return np.array(found, dtype=bool)


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
