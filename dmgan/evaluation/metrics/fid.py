"""Fréchet inception distance (Heusel et al., 2017) from float64 sums."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from datasets import storage
from datasets.storage import StorageError
from dmgan.evaluation.metrics.metric import Metric, Part, Score, Settings, Sums, Value, metrics

__all__ = ["FeatureSums", "Moments", "frechet_distance", "read_moments"]


_ROUNDING = 1e-5  # of a covariance that was kept in float32


@dataclass(frozen=True)
class Moments:
    """Mean (D,) and unbiased covariance (D, D) of features, float64."""

    mean: np.ndarray
    covariance: np.ndarray

    def to_sums(self) -> Sums:
        """In place of the sums of real images."""
        return {"mean": self.mean, "covariance": self.covariance}

    def check(self, dimensions: int, where: str) -> None:
        """Raise StorageError unless these are of features of so many dimensions."""
        if len(self.mean) != dimensions:
            raise StorageError(f"{where}: has features of {len(self.mean)} dimensions, the extractor of {dimensions}")


@dataclass(frozen=True)
class FeatureSums:
    """n, Σ x and Σ x xᵀ of features x (D,); sums of two parts add."""

    n: int
    total: np.ndarray  # (D,) float64
    outer: np.ndarray  # (D, D) float64

    @classmethod
    def from_sums(cls, sums: Sums) -> FeatureSums:
        return cls(int(sums["n"]), sums["total"], sums["outer"])

    def to_sums(self) -> Sums:
        return {"n": np.array(self.n), "total": self.total, "outer": self.outer}

    @classmethod
    def of(cls, features: Tensor) -> FeatureSums:
        """From features (N, D)."""
        x = features.double().cpu().numpy()
        return cls(len(x), x.sum(0), x.T @ x)

    def __add__(self, other: FeatureSums) -> FeatureSums:
        return FeatureSums(self.n + other.n, self.total + other.total, self.outer + other.outer)

    def moments(self) -> Moments:
        mean = self.total / self.n
        return Moments(mean, (self.outer - self.n * np.outer(mean, mean)) / (self.n - 1))


def frechet_distance(a: Moments, b: Moments) -> float:
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½)."""
    # The eigenvalues of Σ_a Σ_b are those of Σ_a^½ Σ_b Σ_a^½, which is symmetric, so they come out real.
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b.covariance @ root).clip(0)).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(np.square(a.mean - b.mean).sum() + traces - 2 * cross)


class FrechetInceptionDistance(Metric):
    """FID between all generated images and the real ones, or moments of real ones that were given."""

    scores = (Score("fid", "FID", "squared feature units", "lower", digits=3),)

    def generated(self, part: Part, settings: Settings) -> Sums:
        return FeatureSums.of(part.features).to_sums()

    def real(self, part: Part, settings: Settings) -> Sums:
        return FeatureSums.of(part.features).to_sums()

    def caveats(self, generated: Sums, real: Sums, settings: Settings) -> list[str]:
        of_generated = FeatureSums.from_sums(generated)
        dimensions, counts = len(of_generated.total), {"generated": of_generated.n}
        if "mean" not in real:
            counts["real"] = FeatureSums.from_sums(real).n
        few = [f"{count:,} {kind}" for kind, count in counts.items() if count <= dimensions]
        if not few:
            return []
        return [
            f"FID of {' and '.join(few)} images on {dimensions:,} feature dimensions cannot be compared with other "
            "FIDs: it takes more images than dimensions"
        ]

    def result(self, generated: Sums, real: Sums, settings: Settings) -> dict[str, Value]:
        given = "mean" in real  # as `Moments.to_sums` has them
        moments = Moments(real["mean"], real["covariance"]) if given else FeatureSums.from_sums(real).moments()
        return {"fid": frechet_distance(FeatureSums.from_sums(generated).moments(), moments)}


metrics.register("fid", FrechetInceptionDistance())


def _impossible(mean: np.ndarray, covariance: np.ndarray) -> str | None:
    """Why these are no mean and covariance, if they are none."""
    for name, values in (("mu", mean), ("sigma", covariance)):
        if not np.isfinite(values).all():
            return f"{name} has values that are no numbers or infinite"
    scale = max(float(np.abs(covariance).max(initial=0)), np.finfo(np.float64).tiny)
    if float(np.abs(covariance - covariance.T).max(initial=0)) > _ROUNDING * scale:
        return "sigma is not symmetric"
    if len(mean) and float(np.linalg.eigvalsh(covariance).min()) < -_ROUNDING * scale * len(mean):
        return "sigma has a negative eigenvalue"
    return None


def read_moments(url: str) -> Moments:
    """From a released .npz with `mu` (D,) and `sigma` (D, D). Raises StorageError where it is none."""
    content = storage.read_bytes(url)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            mean, covariance = file["mu"].astype(np.float64), file["sigma"].astype(np.float64)
    except Exception as error:  # a damaged archive raises anything
        raise StorageError(f"{url}: expected an .npz file with arrays mu and sigma: {error}") from error
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        shapes = f"mu {mean.shape}, sigma {covariance.shape}"
        raise StorageError(f"{url}: expected mu (D,) and sigma (D, D), found {shapes}")
    if problem := _impossible(mean, covariance):
        raise StorageError(f"{url}: expected a mean and a covariance; {problem}")
    return Moments(mean, covariance)
