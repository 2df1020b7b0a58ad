"""Inception-v3's blocks with all 1×1 convolutions of one input as one: fewer and larger kernels, the same numbers.

Shapes: B batch, C channels, H×W pixels.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MergedBlock", "merging"]


class Layout(NamedTuple):
    """The branches of a block by the names of their convolutions; each begins with a 1×1 convolution of the input.

    `finished` is the whole branch. A chain goes on with further convolutions, of which the last group reads one input.
    A fourth branch, `branch_pool`, is a 3×3 pooling and then a 1×1 convolution. The output is finished, chains, pooled.
    """

    finished: str
    chains: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]  # first, those in between, the last ones


_A = Layout(
    "branch1x1",
    (("branch5x5_1", (), ("branch5x5_2",)), ("branch3x3dbl_1", ("branch3x3dbl_2",), ("branch3x3dbl_3",))),
)
_C = Layout(
    "branch1x1",
    (
        ("branch7x7_1", ("branch7x7_2",), ("branch7x7_3",)),
        ("branch7x7dbl_1", ("branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4"), ("branch7x7dbl_5",)),
    ),
)
_E = Layout(
    "branch1x1",
    (
        ("branch3x3_1", (), ("branch3x3_2a", "branch3x3_2b")),
        ("branch3x3dbl_1", ("branch3x3dbl_2",), ("branch3x3dbl_3a", "branch3x3dbl_3b")),
    ),
)
_POOLED = "branch_pool"

# Layout and pooling of the blocks, by module and class. torchvision's averages count the padding, TensorFlow's do not.
_PADDED, _INSIDE, _LARGEST = "padded", "inside", "largest"
_BLOCKS = {
    "torchvision.models.inception": {
        "InceptionA": (_A, _PADDED),
        "InceptionC": (_C, _PADDED),
        "InceptionE": (_E, _PADDED),
    },
    "torch_fidelity.feature_extractor_inceptionv3": {
        "InceptionA": (_A, _INSIDE),
        "InceptionC": (_C, _INSIDE),
        "InceptionE_1": (_E, _INSIDE),
        "InceptionE_2": (_E, _LARGEST),
    },
}


class MergedBlock(nn.Module):
    """A block (B, C, H, W) -> (B, C', H, W) of folded convolutions, see `dmgan.model.folding`.

    Once those are kept and `merge` was called, one convolution stands for the branches' first ones. Averaging and a
    1×1 convolution change places, as both are linear: the average is then of a fraction of the channels. One rectifier
    follows all branches. Before that, and after weights were loaded, the block is as its library wrote it.
    """

    layout: Layout
    pooling: str
    merged_weight: Tensor | None
    merged_bias: Tensor | None

    @torch.no_grad()
    def merge(self) -> None:
        """Put the kept weights together; the convolutions' own become parts of the whole, and take no more memory."""
        first = self._first()
        self.merged_weight = torch.cat([each.kept_weight for each in first])
        widths = [len(each.kept_weight) for each in first]
        for each, part in zip(first, self.merged_weight.split(widths), strict=True):
            each.kept_weight = part
        biases = [each.kept_bias for each in first]
        if self._averages:
            biases[1] = torch.zeros_like(biases[1])  # the average's own comes behind it: padding has none
        self.merged_bias = torch.cat(biases)

    @property
    def _averages(self) -> bool:
        return self.pooling != _LARGEST

    def _first(self) -> list[Any]:
        """The convolutions of the input itself; after `finished` the pooled one, where its pooling may follow it."""
        names = [self.layout.finished, *([_POOLED] if self._averages else []), *(c[0] for c in self.layout.chains)]
        return [getattr(self, name) for name in names]

    def forward(self, x: Tensor) -> Tensor:
        first = self._first()
        if self.merged_weight is None or any(each.kept_weight is None for each in first):
            plain: Tensor = super().forward(x)  # the library's
            return plain
        merged = F.conv2d(x, self.merged_weight, self.merged_bias)
        finished, *others = merged.split([len(each.kept_weight) for each in first], dim=1)
        pooled = self._pooled(others.pop(0) if self._averages else x)
        found = [finished]
        for (_, between, last), y in zip(self.layout.chains, others, strict=True):
            y = F.relu(y)  # of its own memory, side by side, as a convolution wants it
            for name in between:
                y = getattr(self, name)(y)
            found += [getattr(self, name).convolved(y) for name in last]
        return F.relu(torch.cat([*found, pooled], dim=1), inplace=True)

    def _pooled(self, x: Tensor) -> Tensor:
        """The pooled branch before its rectifier: of the 1×1 convolution without bias, or of the block's input."""
        branch: Any = getattr(self, _POOLED)
        if not self._averages:
            largest: Tensor = branch.convolved(F.max_pool2d(x, 3, stride=1, padding=1))
            return largest
        average = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=self.pooling == _PADDED)
        return average.add_(branch.kept_bias[:, None, None])


def merging(block: nn.Module) -> None:
    """Let a block of Inception-v3 whose layout is known be a `MergedBlock`, in place; any other stays as it is."""
    kind: Any = type(block)
    known = _BLOCKS.get(kind.__module__, {}).get(kind.__name__)
    if known is None:
        return
    block.__class__ = _kind(kind)  # the module itself, wherever its weights are
    block.layout, block.pooling = known  # type: ignore[assignment]
    for name in ("merged_weight", "merged_bias"):
        block.register_buffer(name, None, persistent=False)


@cache
def _kind(plain: Any) -> type[nn.Module]:
    return type(f"Merged{plain.__name__}", (MergedBlock, plain), {})
