"""KID, precision and recall: of all features at once, by torch-fidelity."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["NEIGHBOURS", "kernel_inception_distance", "kid_protocol", "precision_recall"]

KID_SUBSETS, KID_SUBSET_SIZE, SEED, NEIGHBOURS = 100, 1000, 2020, 3  # torch-fidelity's


def kid_protocol() -> dict[str, int]:
    return {"subsets": KID_SUBSETS, "subset_size": KID_SUBSET_SIZE, "seed": SEED}


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
