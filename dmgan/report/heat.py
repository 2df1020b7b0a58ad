"""Attention over an image, as light."""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["heat"]


def heat(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The image uint8 (H, W, 3), bright where the attention (h, w) is high."""
    scaled = Image.fromarray((255 * weights / max(weights.max(), 1e-8)).astype(np.uint8)).resize(image.shape[1::-1])
    share = np.asarray(scaled, np.float32)[..., None] / 255
    return (image * (0.25 + 0.75 * share)).astype(np.uint8)
