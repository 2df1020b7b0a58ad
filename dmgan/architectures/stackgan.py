"""`stackgan`: refinements that see the augmented condition c in place of words (Zhang et al., ICCV 2017).

As in the stages of its second version (TPAMI 2018) c stands beside every pixel, a convolution joins the two, and
residual blocks and ×2 follow as everywhere here. It is trained with DAMSM's losses as the others here, which StackGAN
did not have: what is compared is where the words go in, not what the generator is asked for.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from dmgan.architectures.architecture import Architecture, architectures
from dmgan.config import Model
from dmgan.model.build import initialised
from dmgan.model.generator import Generator, Refined
from dmgan.model.layers import GatedBatchNorm, ResidualBlock, Upsample

__all__: list[str] = []


class SentenceRefinement(nn.Module):
    """image (B, N_r, h, w), words and mask, not used, condition (B, C) -> `Refined` with the image alone."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        wide = 2 * model.image_dim
        self.join = nn.Sequential(
            nn.Conv2d(model.image_dim + model.condition_dim, 2 * wide, 3, padding=1, bias=False),
            GatedBatchNorm(2 * wide),
        )
        self.residual = nn.Sequential(*(ResidualBlock(wide) for _ in range(model.residual_blocks)))
        self.upsample = Upsample(wide, model.image_dim)

    def forward(self, image: Tensor, words: Tensor, mask: Tensor, condition: Tensor) -> Refined:
        everywhere = condition[:, :, None, None].expand(-1, -1, *image.shape[2:])
        joined = self.join(torch.cat([image, everywhere], dim=1))
        return Refined(self.upsample(self.residual(joined)))


def generator(model: Model, checkpointing: bool = False) -> nn.Module:
    return initialised(Generator(model, partial(SentenceRefinement, model), checkpointing=checkpointing))


architectures.register("stackgan", Architecture(generator))
