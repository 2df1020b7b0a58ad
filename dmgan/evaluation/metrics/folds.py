"""Cutting the images into the parts over which a score's mean and deviation are taken."""

from __future__ import annotations

import numpy as np

__all__ = ["fold_of"]


def fold_of(indices: np.ndarray, images: int, folds: int) -> np.ndarray:
    """The fold of each image (N,): fold i holds the images from ⌊i·images/folds⌋ on, as in torch-fidelity's IS."""
    starts = np.arange(1, folds) * images // folds
    return np.searchsorted(starts, indices, side="right")
