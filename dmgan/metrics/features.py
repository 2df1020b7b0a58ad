"""What IS and FID are computed on: torch-fidelity's Inception-v3, or the run's own image encoder (`damsm`)."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dmgan.networks import Encoders

__all__ = ["DamsmFeatures", "Extractor", "InceptionFeatures"]


class Extractor(Protocol):
    name: str

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 images (B, 3, H, W) -> features (B, D) for FID, class logits (B, K) for IS."""


class InceptionFeatures:
    """The TensorFlow Inception-v3 of 2015 that FID and IS are defined on, through torch-fidelity.

    `weights_path` is torch-fidelity's weights-inception-2015-12-05-6726825d.pth.
    """

    name = "inception-v3"

    def __init__(self, weights_path: str, device: torch.device) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        import dmgan.torchvision_cpu  # noqa: F401  (before torch-fidelity, which imports torchvision)

        self._network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=weights_path
        ).to(device)
        self._network.eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self._network(images)
        return features, logits


class DamsmFeatures:
    """The run's own image code as feature; as classes those of the split, by similarity to their mean sentence.

    `prototypes` (K, N_w). Numbers on it compare runs that share encoders, and nothing else.
    """

    name = "damsm"

    def __init__(self, encoders: Encoders, prototypes: Tensor, gamma3: float) -> None:
        self._encoders, self._gamma3 = encoders, gamma3
        self._prototypes = F.normalize(prototypes, dim=1)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        _, code = self._encoders.image(images.float() / 127.5 - 1)
        return code, self._gamma3 * F.normalize(code, dim=1) @ self._prototypes.t()
