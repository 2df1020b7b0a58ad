"""Convolutions that do less than they say: exact rewritings, with the weights as they are on disk.

Shapes: B batch, C channels, H×W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["UpsamplingConv2d", "WideConv2d", "in_fast_format"]

# Below this side the change of the weights costs more than the smaller images save (docs/speed.md).
_SMALLEST_SPLIT = 16


class WideConv2d(nn.Conv2d):
    """A 3×3 convolution without bias: (B, C_in, H, W) -> (B, C_out, H, W).

    An x of half the channels stands for [x, x], the feature beside itself that follows the released response gate:
    W·[x, x] = (W_left + W_right)·x.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1, bias=False)

    def weight_for(self, x: Tensor) -> Tensor:
        """The weight (C_out, channels of x, 3, 3); computed in the forward pass, as ZeRO 3 has it only there."""
        if x.shape[1] == self.in_channels:
            return self.weight
        left, right = self.weight.chunk(2, dim=1)
        return left + right

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight_for(x), padding=1)


class UpsamplingConv2d(WideConv2d):
    """Nearest ×2, then `WideConv2d`: (B, C_in, H, W) -> (B, C_out, 2H, 2W).

    Each value is used by 3×3 pixels of its 2×2 copies, that is by 4×4 pixels with sums of the weights: a transposed
    convolution of stride 2 on the small image, with 2.25 times fewer multiplications.
    """

    sums: Tensor

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out)
        self.register_buffer("sums", _sums(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_for(x)
        if min(x.shape[2:]) < _SMALLEST_SPLIT:
            return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, padding=1)
        with torch.autocast(x.device.type, enabled=False):  # sums of weights are rounded once, by the convolution
            transposed = weight.transpose(0, 1).reshape(-1, 9) @ self.sums
        weight = transposed.view(*weight.shape[1::-1], 4, 4)
        if x.device.type == "cpu":  # else oneDNN's result, four times as large as x, would be put in another order
            x = x.contiguous(memory_format=torch.channels_last)
        return F.conv_transpose2d(x, weight, stride=2, padding=1)


def _sums() -> Tensor:
    """Of which of the 3×3 weights each of the 4×4 is the sum: (9, 16) of 0 and 1.

    A list, not operations on tensors: those on the meta device, where parameters are counted, import torch's compiler.
    """
    along = [[float(k in (2 - i, 3 - i)) for i in range(4)] for k in range(3)]  # of one row or column
    return torch.tensor([[y * x for y in along[row] for x in along[column]] for row in range(3) for column in range(3)])


def in_fast_format(x: Tensor) -> Tensor:
    """x (B, C, H, W) with its channels side by side in memory where autocast computes it in bfloat16.

    Convolutions hand the format on. In float32 others than transposed ones are as fast in either (docs/speed.md).
    """
    fast = torch.is_autocast_enabled(x.device.type)
    return x.contiguous(memory_format=torch.channels_last) if fast else x
