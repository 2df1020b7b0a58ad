"""KID, precision and recall: of all features at once, by torch-fidelity."""

from __future__ import annotations

import numpy as np
import torch

from dmgan.evaluation.metrics.metric import Metric, Part, Score, Settings, Sums, Value, metrics

__all__ = ["GatheredFeatures", "kernel_inception_distance", "precision_recall"]

KID_SUBSETS, KID_SUBSET_SIZE, SEED, NEIGHBOURS = 100, 1000, 2020, 3  # torch-fidelity's


def kernel_inception_distance(generated: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation over 100 subsets, of 1,000 images or fewer where there are not as many.

    features (N, D) and (M, D); Bińkowski et al. (2018), polynomial kernel of degree 3.
    """
    import dmgan.model.torchvision_cpu  # noqa: F401, I001
    from torch_fidelity.metric_kid import kid_features_to_metric

    size = min(KID_SUBSET_SIZE, len(generated), len(real))
    options = {"kid_subsets": KID_SUBSETS, "kid_subset_size": size, "rng_seed": SEED, "verbose": False}
    found = kid_features_to_metric(torch.from_numpy(generated), torch.from_numpy(real), **options)
    return found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]


def precision_recall(generated: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Of generated features (N, D) against real ones (M, D), with 3 neighbours: Kynkäänniemi et al. (2019)."""
    import dmgan.model.torchvision_cpu  # noqa: F401, I001
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = prc_features_to_metric(
        torch.from_numpy(generated),
        torch.from_numpy(real),
        prc_neighborhood=NEIGHBOURS,
        save_cpu_ram=True,
        verbose=False,
    )
    return found["precision"], found["recall"]


class GatheredFeatures(Metric):
    """KID, precision and recall, where they are asked for."""

    scores = (
        Score("kid", "KID", "squared kernel distance", "lower", digits=4),
        Score("precision", "precision", "share of generated images", "higher", digits=3),
        Score("recall", "recall", "share of real images", "higher", digits=3),
    )

    def wanted(self, settings: Settings) -> bool:
        return settings.real_images and (settings.options.kid or settings.options.precision_recall)

    def generated(self, part: Part, settings: Settings) -> Sums:
        return {"features": part.features.float().cpu().numpy()}

    def real(self, part: Part, settings: Settings) -> Sums:
        return self.generated(part, settings)

    def add(self, one: Sums, other: Sums) -> Sums:
        return {"features": np.concatenate([one["features"], other["features"]])}

    def result(self, generated: Sums, real: Sums, settings: Settings) -> dict[str, Value]:
        found: dict[str, Value] = {}
        if settings.options.kid:
            mean, std = kernel_inception_distance(generated["features"], real["features"])
            found["kid"] = {"mean": mean, "std": std}
        if settings.options.precision_recall:
            found["precision"], found["recall"] = precision_recall(generated["features"], real["features"])
        return found

    def protocol(self, settings: Settings) -> dict[str, object]:
        found: dict[str, object] = {}
        if settings.options.kid:
            found["kid"] = {"subsets": KID_SUBSETS, "subset_size": KID_SUBSET_SIZE, "seed": SEED}
        if settings.options.precision_recall:
            found["precision_recall"] = {"neighbours": NEIGHBOURS}
        return found


metrics.register("gathered", GatheredFeatures())
