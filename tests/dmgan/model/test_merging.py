"""Inception's blocks with sibling convolutions merged against the libraries' own, in double precision."""

from __future__ import annotations

import copy
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmgan.model.folding import fold_batch_norms, keep_folded
from dmgan.model.merging import MergedBlock
from dmgan.model.torchvision_cpu import torchvision
from tests.dmgan.model.test_rewritings import FORMATS, image, same, spread

CHANNELS = 6  # of a block's input


def blocks() -> list[nn.Module]:
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity

    theirs = torchvision.models.inception
    return [
        theirs.InceptionA(CHANNELS, pool_features=5),
        theirs.InceptionC(CHANNELS, channels_7x7=4),
        theirs.InceptionE(CHANNELS),
        fidelity.InceptionA(CHANNELS, pool_features=5),
        fidelity.InceptionC(CHANNELS, channels_7x7=4),
        fidelity.InceptionE_1(CHANNELS),
        fidelity.InceptionE_2(CHANNELS),
    ]


def convolutions(network: nn.Module, x: Tensor) -> int:
    """How many of them a forward has."""
    with patch.object(F, "conv2d", wraps=F.conv2d) as counted:
        network(x)
    return counted.call_count


@pytest.mark.parametrize("memory_format", FORMATS)
def test_a_merged_block_is_the_librarys(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    for block in blocks():
        plain = spread(nn.Sequential(block))
        merged = copy.deepcopy(plain)
        fold_batch_norms(merged)
        names = list(merged.state_dict())
        x = image(CHANNELS, 5, 7, memory_format)
        same(merged, plain, x, nn.Identity())  # each convolution by itself, as nothing is kept
        before = convolutions(merged, x)
        keep_folded(merged)
        assert isinstance(merged[0], MergedBlock) and names == list(merged.state_dict()) == list(plain.state_dict())
        same(merged, plain, x, nn.Identity())
        assert convolutions(merged, x) == before - (2 if "E_2" in type(block).__name__ else 3)
        same(copy.deepcopy(merged), plain, x, nn.Identity())


def test_weights_loaded_later_are_those_of_the_merged_convolution() -> None:
    torch.manual_seed(0)
    kind: Any = torchvision.models.inception.InceptionA
    merged, other = (spread(nn.Sequential(kind(CHANNELS, pool_features=5))) for _ in range(2))
    fold_batch_norms(merged)
    keep_folded(merged)
    state = {name: value.clone() for name, value in other.state_dict().items()}
    merged.load_state_dict(state)
    x = image(CHANNELS, 5, 7)
    same(merged, other, x, nn.Identity())
    keep_folded(merged)
    same(merged, other, x, nn.Identity())
