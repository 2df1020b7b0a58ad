from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from dmgan.training.outcome import pyramid


def test_bilinear_smaller_images_are_pillows_to_a_level_of_brightness() -> None:
    pixels = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    ours = pyramid(pixels, [16, 32, 64], "bilinear")
    for size, found in zip((16, 32, 64), ours, strict=True):
        for image, made in zip(pixels, found, strict=True):
            small = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((size, size), Image.Resampling.BILINEAR)
            levels = (made.permute(1, 2, 0).numpy() + 1) * 127.5
            assert np.abs(levels - np.asarray(small, np.float32)).max() <= 1.01
    means = pyramid(pixels, [16, 64])
    torch.testing.assert_close(means[0].mean(), means[1].mean())
    assert (means[0] - ours[0]).abs().max() > 0.02
