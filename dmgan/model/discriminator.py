"""The discriminators D_i: one a stage, spectrally normalised, unconditional and conditional (Section 3.3).

Shapes: B batch, S image size, F feature channels, N_w sentence features.
"""

from __future__ import annotations

from math import log2

import torch
from torch import Tensor, nn

from dmgan.model.convolutions import in_fast_format
from dmgan.model.layers import SpectralNormConv2d

__all__ = ["Discriminator"]


class Discriminator(nn.Module):
    """D for images of one size: (B, 3, S, S) -> features (B, F, 4, 4); two heads give logits (B,).

    Stride-2 convolutions halve the image to 4×4, doubling the width from `width`; from 64 pixels up, 3×3 convolutions
    bring the features back to F = 8·width, as in the released code; below 64 pixels F is the width reached.
    """

    def __init__(self, image_size: int, width: int, word_dim: int) -> None:
        super().__init__()
        halvings = int(log2(image_size // 4))
        layers: list[nn.Module] = []
        channels = 3
        for i in range(halvings):
            layers += [SpectralNormConv2d(channels, width * 2**i, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            channels = width * 2**i
        while channels > 8 * width:
            layers += [SpectralNormConv2d(channels, channels // 2, 3, 1, 1), nn.LeakyReLU(0.2, inplace=True)]
            channels //= 2
        self.encode = nn.Sequential(*layers)
        self.joint = nn.Sequential(
            SpectralNormConv2d(channels + word_dim, channels, 3, 1, 1), nn.LeakyReLU(0.2, inplace=True)
        )
        self.conditional_logit = nn.Conv2d(channels, 1, 4, 4)
        self.unconditional_logit = nn.Conv2d(channels, 1, 4, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.encode(in_fast_format(images))

    def conditional(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Logits (B,) that images with these features (B, F, 4, 4) are real and match the sentences (B, N_w)."""
        condition = sentence[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return self.conditional_logit(self.joint(torch.cat([features, condition], dim=1))).flatten()

    def unconditional(self, features: Tensor) -> Tensor:
        """Logits (B,) that images with these features (B, F, 4, 4) are real."""
        return self.unconditional_logit(features).flatten()
