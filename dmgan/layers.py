"""Building blocks shared by the networks.

Shapes: B batch, C channels, H×W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmgan import collective

__all__ = ["BatchNorm", "GatedLinearUnit", "ResidualBlock", "SpectralNormConv2d", "Upsample"]


class BatchNorm(nn.Module):
    """Batch normalisation whose moments are over the batch of *all* workers, on CPU and GPU alike.

    (B, C, *) -> (B, C, *). With one process this is `torch.nn.BatchNorm{1,2}d`; parameters and buffers carry the same
    names. torch's SyncBatchNorm refuses CPU tensors, hence this one. Every worker must hold the same batch size.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked += 1
        if not self.training or collective.world_size() == 1:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
            )
        return self._forward_synchronised(x)

    def _forward_synchronised(self, x: Tensor) -> Tensor:
        dims = [d for d in range(x.dim()) if d != 1]
        count = x.numel() // x.shape[1] * collective.world_size()
        wide = x.float()
        # Two passes (mean, then centred squares) would cost a second round trip; the sums fit one message.
        sums = torch.cat([wide.sum(dims), wide.square().sum(dims)])
        mean, square = (collective.AllReduceSum.apply(sums) / count).chunk(2)
        variance = (square - mean.square()).clamp_min(0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shape = [1, -1] + [1] * (x.dim() - 2)
        return (wide * scale.view(shape) + (self.bias - mean * scale).view(shape)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, momentum={self.momentum}, eps={self.eps}"


class GatedLinearUnit(nn.Module):
    """(B, 2C, *) -> (B, C, *): the first half times the sigmoid of the second."""

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(x, dim=1)


class Upsample(nn.Sequential):
    """(B, C_in, H, W) -> (B, C_out, 2H, 2W): nearest ×2, 3×3 convolution, normalisation, gated linear unit."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(channels_in, 2 * channels_out, 3, padding=1, bias=False),
            BatchNorm(2 * channels_out),
            GatedLinearUnit(),
        )


class ResidualBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False),
            BatchNorm(2 * channels),
            GatedLinearUnit(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            BatchNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class SpectralNormConv2d(nn.Module):
    """A convolution whose weight is divided by its largest singular value σ (Miyato et al., 2018; DM-GAN §3.3).

    One power iteration precedes each forward in training mode: v ← Wᵀu/‖Wᵀu‖, u ← Wv/‖Wv‖, σ = uᵀWv, with W the
    weight as (out, in·k·k). u and v are constants of that forward's gradient and buffers of the module. In evaluation
    mode they stay as they are.
    """

    u: Tensor
    v: Tensor

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels_in, channels_out, kernel)
        self.stride, self.padding = stride, padding
        self.weight, self.bias = convolution.weight, convolution.bias
        self.register_buffer("u", F.normalize(torch.randn(channels_out), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(channels_in * kernel * kernel), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        matrix = self.weight.flatten(1)
        if self.training:
            with torch.no_grad():
                self.v.copy_(_unit(matrix.t() @ self.u))
                self.u.copy_(_unit(matrix @ self.v))
        # Copies, because the next forward moves the buffers while this one still waits for its backward.
        sigma = self.u.clone() @ (matrix @ self.v.clone())
        return F.conv2d(x, self.weight / sigma, self.bias, self.stride, self.padding)


def _unit(x: Tensor, eps: float = 1e-12) -> Tensor:
    return x / (x.norm() + eps)
