"""A small network that registers with torch-fidelity as `small`: evaluate.features_module=tests.small_extractor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dmgan.model.torchvision_cpu  # noqa: F401  (before torch-fidelity)

# isort: split
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY


class SmallExtractor(FeatureExtractorBase):  # type: ignore[misc]
    def __init__(self, name: str, features_list: list[str], **options: object) -> None:
        super().__init__(name, features_list)
        draw = torch.Generator().manual_seed(5)
        self.kernel = nn.Parameter(torch.randn(16, 3, 5, 5, generator=draw) / 8, requires_grad=False)
        self.classes = nn.Parameter(torch.randn(16, 7, generator=draw), requires_grad=False)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("code", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return {"isc": "logits", "fid": "code", "kid": "code", "prc": "code"}[metric]

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        # Waves, so that images that are nearly alike have features as far apart as others.
        code = torch.sin(300 * F.conv2d(images.float() / 64 - 2, self.kernel, stride=3).relu().mean(dim=(2, 3)))
        named = {"code": code, "logits": code @ self.classes}
        return tuple(named[name] for name in self.features_list)


if "small" not in FEATURE_EXTRACTORS_REGISTRY:
    register_feature_extractor("small", SmallExtractor)
