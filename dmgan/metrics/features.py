"""What IS and FID are computed on: torch-fidelity's Inception-v3, or the run's own image encoder (`damsm`)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import storage
from dmgan.networks import Encoders

__all__ = ["DamsmFeatures", "Extractor", "InceptionFeatures"]


class Extractor(Protocol):
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 images (B, 3, H, W) -> features (B, D) for FID, class logits (B, K) for IS."""


class InceptionFeatures:
    """The TensorFlow Inception-v3 of 2015 that FID and IS are defined on, through torch-fidelity.

    `weights_path` (a path or s3://) is torch-fidelity's weights-inception-2015-12-05-6726825d.pth.
    """

    def __init__(self, weights_path: str, device: torch.device) -> None:
        # isort: split  (torch-fidelity imports torchvision, which on CPU needs the module above first)
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        import dmgan.torchvision_cpu  # noqa: F401

        with _local_copy(weights_path) as path:
            self._network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=path
            ).to(device)
        self._network.eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self._network(images)
        return features, logits


@contextmanager
def _local_copy(url: str) -> Iterator[str]:
    """The path of a file, fetched for the while if it is in a bucket: torch-fidelity opens paths only."""
    if storage.is_local(url):
        yield url
        return
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        file.write(storage.read_bytes(url))
        file.flush()
        yield file.name


class DamsmFeatures:
    """The run's own image code as feature; as classes those of the split, by similarity to their mean sentence.

    `prototypes` (K, N_w). Numbers on it compare runs that share encoders, and nothing else.
    """

    def __init__(self, encoders: Encoders, prototypes: Tensor, gamma3: float) -> None:
        self._encoders, self._gamma3 = encoders, gamma3
        self._prototypes = F.normalize(prototypes, dim=1)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        _, code = self._encoders.image(images.float() / 127.5 - 1)
        return code, self._gamma3 * F.normalize(code, dim=1) @ self._prototypes.t()
