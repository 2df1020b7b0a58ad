"""A model and a batch small enough for a test."""

from __future__ import annotations

import torch

from dmgan.training.batch import TrainingBatch

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


# Every architecture and memory that can be trained, by what a configuration says; with the sizes above.
ARCHITECTURES = {
    **{memory: [f"model.memory={memory}"] for memory in ("baseline", "m", "m_wg", "m_wg_rg")},
    "attngan": ["model.architecture=attngan"],
    "stackgan": ["model.architecture=stackgan"],
    "gan-int-cls": [
        "model.architecture=gan-int-cls",
        "model.refinements=0",
        "model.base_size=16",
        "objective.mismatched_pairs=true",
    ],
}


def batch(size: int = 6, pixels: int = 16) -> TrainingBatch:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 7, (size,), generator=generator)
    captions = torch.randint(1, 20, (size, 7), generator=generator)
    captions[torch.arange(7)[None] >= lengths[:, None]] = 0
    images = torch.randint(0, 256, (size, 3, pixels, pixels), generator=generator, dtype=torch.uint8)
    return TrainingBatch(images, captions, lengths, torch.arange(size) // 2)
