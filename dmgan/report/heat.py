"""Attention over an image, as light."""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["heat"]


def heat(image: np.ndarray, weights: np.ndarray, most: float | None = None) -> np.ndarray:
    """The image uint8 (H, W, 3), bright where the attention (h, w) is high.

    A pixel is as bright as in the image where the attention is `most`, or its highest, and a quarter as bright at 0.
    """
    highest = max(float(weights.max()) if most is None else most, 1e-8)
    light = Image.fromarray((255 * weights / highest).clip(0, 255).astype(np.uint8)).resize(image.shape[1::-1])
    share = np.asarray(light, np.float32)[..., None] / 255
    return (image * (0.25 + 0.75 * share)).astype(np.uint8)
