from __future__ import annotations

import torch
import torch.nn.functional as F

from dmgan.config import load_config
from dmgan.model.build import build_encoders
from dmgan.model.image_encoder import CompactTrunk, ImageEncoder, InceptionTrunk


def test_the_released_presets_resize_as_the_released_encoder() -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    for preset, align_corners in (("cub", False), ("cub-released", True), ("coco-released", True)):
        trunk = build_encoders(load_config(preset).model, 5).image.trunk.eval()
        assert isinstance(trunk, InceptionTrunk)
        found = []
        trunk.local.register_forward_pre_hook(lambda module, given, found=found: found.append(given[0]))
        trunk(images)
        expected = F.interpolate(images, size=(299, 299), mode="bilinear", align_corners=align_corners)
        torch.testing.assert_close(found[0], expected, rtol=0, atol=0)


def test_the_code_alone_is_the_one_beside_the_regions() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(CompactTrunk(16, width=4), word_dim=6).eval()
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(encoder.code(images), encoder(images)[1], rtol=0, atol=0)
