"""Fréchet inception distance (Heusel et al., 2017) from float64 sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

__all__ = ["FeatureSums", "frechet_distance"]


@dataclass
class FeatureSums:
    """n, Σ x and Σ x xᵀ of features x (D,); sums of two parts add."""

    n: int
    total: np.ndarray  # (D,) float64
    outer: np.ndarray  # (D, D) float64

    @classmethod
    def of(cls, features: Tensor) -> FeatureSums:
        """From features (N, D)."""
        x = features.double().cpu().numpy()
        return cls(len(x), x.sum(0), x.T @ x)

    def __add__(self, other: FeatureSums) -> FeatureSums:
        return FeatureSums(self.n + other.n, self.total + other.total, self.outer + other.outer)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (D,) and unbiased covariance (D, D)."""
        mean = self.total / self.n
        return mean, (self.outer - self.n * np.outer(mean, mean)) / (self.n - 1)


def frechet_distance(a: FeatureSums, b: FeatureSums) -> float:
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½)."""
    (mean_a, cov_a), (mean_b, cov_b) = a.moments(), b.moments()
    # The eigenvalues of Σ_a Σ_b are those of Σ_a^½ Σ_b Σ_a^½, which is symmetric, so they come out real.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return float(np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)
