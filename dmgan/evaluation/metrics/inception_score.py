"""Inception score (Salimans et al., 2016) from per-split sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dmgan.evaluation.metrics.folds import fold_of
from dmgan.evaluation.metrics.metric import Metric, Part, Score, Settings, Sums, Value, metrics

__all__ = ["InceptionScore", "InceptionSums"]


@dataclass
class InceptionSums:
    """For each split s: n, Σ p and Σ p·log p of class probabilities p; sums of two parts add."""

    n: np.ndarray  # (S,) float64
    total: np.ndarray  # (S, K) float64
    entropy: np.ndarray  # (S,) float64, Σ p·log p

    @classmethod
    def of(cls, logits: Tensor, split: np.ndarray, splits: int) -> InceptionSums:
        """From logits (N, K) and the split of each (N,)."""
        log_p = logits.double().log_softmax(1).cpu().numpy()
        p = np.exp(log_p)
        n, total, entropy = np.zeros(splits), np.zeros((splits, p.shape[1])), np.zeros(splits)
        np.add.at(n, split, 1)
        np.add.at(total, split, p)
        np.add.at(entropy, split, (p * log_p).sum(1))
        return cls(n, total, entropy)

    def __add__(self, other: InceptionSums) -> InceptionSums:
        return InceptionSums(self.n + other.n, self.total + other.total, self.entropy + other.entropy)

    def score(self) -> tuple[float, float]:
        """Mean and standard deviation over the splits of exp E KL(p(y|x) ‖ p(y)); empty splits are left out."""
        filled = self.n > 0
        marginal = self.total[filled] / self.n[filled, None]
        log_marginal = np.log(marginal, out=np.zeros_like(marginal), where=marginal > 0)
        scores = np.exp(self.entropy[filled] / self.n[filled] - (marginal * log_marginal).sum(1))
        return float(scores.mean()), float(scores.std())


class InceptionScore(Metric):
    """IS over the splits that the protocol asks for."""

    scores = (Score("inception_score", "IS", "1 to classes", "higher"),)

    def generated(self, part: Part, settings: Settings) -> Sums:
        numbers = settings.numbers
        sums = InceptionSums.of(part.logits, fold_of(part.indices, numbers.images, numbers.splits), numbers.splits)
        return {"n": sums.n, "total": sums.total, "entropy": sums.entropy}

    def result(self, generated: Sums, real: Sums, settings: Settings) -> dict[str, Value]:
        mean, std = InceptionSums(**generated).score()
        return {"inception_score": {"mean": mean, "std": std}}

    def protocol(self, settings: Settings) -> dict[str, object]:
        return {"inception_score": {"splits": settings.numbers.splits}}


metrics.register("inception_score", InceptionScore())
