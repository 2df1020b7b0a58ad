"""R-precision (Section 4): does an image match its own caption better than 99 captions of other classes?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dmgan.evaluation.metrics.folds import fold_of
from dmgan.evaluation.metrics.metric import Metric, Part, Score, Settings, Sums, Value, metrics
from dmgan.seeds import random_integers

__all__ = ["Distractors", "FoldCounts", "RPrecision", "available_distractors", "matching_scores"]


class Distractors:
    """Draws mismatching captions: those of other classes than an image's own, which do not say the same either."""

    def __init__(self, classes: np.ndarray, texts: np.ndarray, count: int, seed: int) -> None:
        """`classes` and `texts` (captions,): the class of every caption, and a number for what it says."""
        self._texts, self._count, self._seed = texts, count, seed
        self._by_class = np.argsort(classes, kind="stable")
        self._sorted = classes[self._by_class]
        self._said = np.bincount(texts)
        # How often a class says a text, by the pairs that occur.
        pairs = classes.astype(np.int64) * len(self._said) + texts
        self._pairs, self._said_by_class = np.unique(pairs, return_counts=True)

    def of(self, indices: np.ndarray, classes: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Captions' numbers (N, count) for images `indices` (N,), whose own captions are of `classes` and say `texts`.

        Each row is a function of the seed and its index alone: all sets of `count` captions are equally likely. Raises
        ValueError where there are fewer captions to choose from.
        """
        first = np.searchsorted(self._sorted, classes, "left")
        own = np.searchsorted(self._sorted, classes, "right") - first
        self._check(classes, texts, own)
        images, others = random_integers(self._seed, indices), len(self._sorted) - own

        def draw(rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
            """Captions of other classes for the images `rows`, by the numbers of the draws."""
            places = random_integers(images[rows], draws) % others[rows].astype(np.uint64)
            past = places >= first[rows].astype(np.uint64)
            return self._by_class[places.astype(np.int64) + past * own[rows]]

        every = np.arange(len(indices))
        drawn = draw(every[:, None], np.arange(self._count)[None])
        again, changed = np.zeros(drawn.shape, np.int64), every
        while len(changed):
            # Those that came earlier in their row, or say what the own caption says, are drawn again.
            row, column = np.nonzero(_repeated(drawn[changed]) | (self._texts[drawn[changed]] == texts[changed, None]))
            rows = changed[row]
            again[rows, column] += 1
            drawn[rows, column] = draw(rows, again[rows, column] * self._count + column)
            changed = np.unique(rows)
        return drawn

    def _check(self, classes: np.ndarray, texts: np.ndarray, own: np.ndarray) -> None:
        others = len(self._sorted) - own
        if len(others) and others.min() < self._count:
            raise ValueError(f"R-precision needs {self._count} captions of other classes, the split has {others.min()}")
        different = self._different(classes, texts, own)
        if len(different) and different.min() < self._count:
            raise ValueError(
                f"R-precision needs {self._count} captions of other classes that do not say what an image's own does, "
                f"the split has {different.min()} for one of them"
            )

    def _different(self, classes: np.ndarray, texts: np.ndarray, own: np.ndarray) -> np.ndarray:
        """How many captions of other classes do not say what these say; `own` are the captions of their classes."""
        pairs = np.searchsorted(self._pairs, classes.astype(np.int64) * len(self._said) + texts)
        return len(self._sorted) - own - (self._said[texts] - self._said_by_class[pairs])

    def most(self) -> int:
        """How many distractors there are for the caption that has the fewest."""
        classes, of_each = np.unique(self._sorted, return_counts=True)
        pair_class, pair_text = np.divmod(self._pairs, len(self._said))
        own = of_each[np.searchsorted(classes, pair_class)]
        return int(self._different(pair_class, pair_text, own).min())


def available_distractors(classes: np.ndarray, texts: np.ndarray) -> int:
    """How many distractors the caption that has the fewest can have: captions of other classes that say something else.

    `classes` and `texts` (captions,): the class of every caption, and a number for what it says.
    """
    return Distractors(classes, texts, count=0, seed=0).most()


def _repeated(rows: np.ndarray) -> np.ndarray:
    """Which values of rows (N, C), not negative, stand in their row before already: (N, C)."""
    bits = rows.shape[1].bit_length()
    ordered = np.sort((rows << bits) + np.arange(rows.shape[1]), axis=1)
    values = ordered >> bits
    row, place = np.nonzero(values[:, 1:] == values[:, :-1])
    found = np.zeros(rows.shape, bool)
    found[row, ordered[row, place + 1] & ((1 << bits) - 1)] = True
    return found


def matching_scores(codes: Tensor, own: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine of each image with its own caption (N,), and by how much it is above the largest of the others (N,).

    R-precision with R = 1 counts the images of which the latter is above 0.

    codes (N, N_w) of images; own (N, N_w) and others (N, C, N_w), sentences of unit length.
    """
    codes = F.normalize(codes, dim=1)
    scores = (codes * own).sum(1)
    wrong = torch.bmm(others, codes[:, :, None])[:, :, 0]
    return scores, scores - wrong.max(dim=1).values


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
