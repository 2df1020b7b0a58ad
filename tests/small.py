"""A model and a batch small enough for a test."""

from __future__ import annotations

from typing import Any

import torch

SMALL = [
    "model.word_dim=8",
    "model.image_dim=4",
    "model.memory_dim=6",
    "model.condition_dim=4",
    "model.noise_dim=4",
    "model.base_size=8",
    "model.refinements=1",
    "model.discriminator_width=4",
    "model.embedding_dim=6",
]


def batch(size: int = 6, pixels: int = 16) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 7, (size,), generator=generator)
    captions = torch.randint(1, 20, (size, 7), generator=generator)
    captions[torch.arange(7)[None] >= lengths[:, None]] = 0
    images = torch.randint(0, 256, (size, 3, pixels, pixels), generator=generator, dtype=torch.uint8)
    return {"image": images, "caption": captions, "length": lengths, "class": torch.arange(size) // 2}
