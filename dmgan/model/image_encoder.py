"""The image encoder of DAMSM [28]: local region features and a global image code in the space of the words."""

from __future__ import annotations

from collections import OrderedDict
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmgan.model.folding import fold_batch_norms
from dmgan.model.layers import BatchNorm

__all__ = ["CompactTrunk", "ImageEncoder", "InceptionTrunk"]


class ImageEncoder(nn.Module):
    """images (B, 3, H, W) in [-1, 1] -> regions (B, N_w, R), code (B, N_w).

    `trunk` gives feature maps (B, C_r, h, w), R = h·w, and a pooled vector (B, C_p); two linear maps bring both to N_w.
    """

    def __init__(self, trunk: CompactTrunk | InceptionTrunk, word_dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.emb_features = nn.Conv2d(trunk.region_channels, word_dim, 1, bias=False)
        self.emb_cnn_code = nn.Linear(trunk.pooled_channels, word_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, pooled = self.trunk(images)
        return self.emb_features(features).flatten(2), self.emb_cnn_code(pooled)

    def code(self, images: Tensor) -> Tensor:
        """The code (B, N_w) alone, for which the regions need not be mapped."""
        _, pooled = self.trunk(images)
        code: Tensor = self.emb_cnn_code(pooled)
        return code


class CompactTrunk(nn.Module):
    """A small trunk for images of `image_size` (a power of two ≥ 16), trained from scratch: 8×8 regions."""

    def __init__(self, image_size: int, width: int = 24) -> None:
        super().__init__()
        halvings = int(log2(image_size // 8))
        layers: list[nn.Module] = []
        channels = 3
        for i in range(halvings):
            wider = width * 2 ** min(i, 2)
            layers += _halving(channels, wider)
            channels = wider
        self.regions = nn.Sequential(*layers)
        self.summary = nn.Sequential(*_halving(channels, 2 * channels))
        self.region_channels, self.pooled_channels = channels, 2 * channels * 16

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.regions(images)
        return features, self.summary(features).flatten(1)


def _halving(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 4, 2, 1, bias=False)
    return [convolution, BatchNorm(channels_out), nn.LeakyReLU(0.2, inplace=True)]


class InceptionTrunk(nn.Module):
    """Inception-v3 up to Mixed_6e (17×17 regions, 768 channels) and its pooled Mixed_7c (2048), frozen, as in [28].

    `weights` is torchvision's state dict of `inception_v3`. Images are resized to 299 pixels, bilinearly; with
    `align_corners` the corners' pixels stay at the corners, as in the released code.
    """

    region_channels, pooled_channels = 768, 2048

    def __init__(self, weights: dict[str, Tensor] | None = None, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        from dmgan.model.torchvision_cpu import torchvision

        network = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=True)
        if weights is not None:
            network.load_state_dict(weights)
        fold_batch_norms(network)
        children = dict(network.named_children())
        names = list(children)
        upto = names.index("Mixed_6e") + 1
        drop = {"AuxLogits", "avgpool", "dropout", "fc"}
        self.local = nn.Sequential(OrderedDict((n, children[n]) for n in names[:upto]))
        self.top = nn.Sequential(OrderedDict((n, children[n]) for n in names[upto:] if n not in drop))
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> InceptionTrunk:
        return super().train(False)  # frozen: its BatchNorm statistics stay as they were trained

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        images = F.interpolate(images, size=(299, 299), mode="bilinear", align_corners=self.align_corners)
        # Of this network's convolutions all are faster with channels side by side, in float32 too (docs/speed.md).
        features = self.local(images.contiguous(memory_format=torch.channels_last))
        return features, F.adaptive_avg_pool2d(self.top(features), 1).flatten(1)
