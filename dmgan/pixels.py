"""Pixels as files have them, 0 … 255, and as the networks do, −1 … 1."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from torch import Tensor

__all__ = ["png", "quantised", "to_array", "to_unit"]


def quantised(images: Tensor) -> Tensor:
    """Images in [−1, 1] as uint8 of the same shape, rounded to the nearest."""
    return (images + 1).mul_(127.5).round_().clamp_(0, 255).byte()


def to_unit(pixels: Tensor) -> Tensor:
    """Pixels 0 … 255 as float32 in [−1, 1]."""
    return pixels.float() / 127.5 - 1


def to_array(images: Tensor) -> np.ndarray:
    """Images (B, 3, H, W) in [−1, 1] as uint8 (B, H, W, 3)."""
    return quantised(images).permute(0, 2, 3, 1).cpu().numpy()


def png(pixels: np.ndarray) -> bytes:
    """The PNG file of uint8 pixels (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
