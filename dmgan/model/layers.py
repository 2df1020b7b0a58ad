"""Building blocks shared by the networks.

Shapes: B batch, C channels, H×W pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmgan.model import collective, spectral
from dmgan.model.convolutions import UpsamplingConv2d, WideConv2d
from dmgan.model.native_norm import native_batch_norm
from dmgan.model.normalisation import Normalise, NormaliseAndGate, gated

__all__ = [
    "BatchCounts",
    "BatchNorm",
    "Dropout",
    "GatedBatchNorm",
    "ResidualBlock",
    "SpectralNormConv2d",
    "Upsample",
    "batch_statistics",
    "power_iteration_at_rest",
    "recomputation",
    "spectral_norms_at_once",
]


class _Mode:
    """What forwards of this process are for. Not context variables: torch.compile cannot read those."""

    recomputing = False  # see `recomputation`
    at_rest = False  # see `power_iteration_at_rest`


class BatchNorm(nn.Module):
    """Batch normalisation whose moments are over the batch of *all* workers, on CPU and GPU alike.

    (B, C, *) -> (B, C, *). With one process this is `torch.nn.BatchNorm{1,2}d`; parameters and buffers carry the same
    names. torch's SyncBatchNorm refuses CPU tensors, hence this one. Every worker must hold the same batch size. With
    `synchronised` off (see `batch_statistics`) the moments are over this worker's batch.
    """

    synchronised = True
    counts = True  # its batches itself; see `BatchCounts`

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
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return self._native(x) if x.device.type == "cuda" else self._normalised(Normalise, x)

    def _normalised(self, function: type[Normalise] | type[NormaliseAndGate], x: Tensor) -> Tensor:
        # Activations of a reduced precision stay in it; moments and the arithmetic are float32's.
        y, mean, variance, count = function.apply(x, self.weight, self.bias, self.eps, self.synchronised)
        if not _Mode.recomputing:
            self._follow(mean, variance, count)
        return y

    def _native(self, x: Tensor) -> Tensor:
        """(B, C, *) -> (B, C, *) by CUDA's kernels."""
        running = self.running_mean, self.running_var
        if _Mode.recomputing:
            running = running[0].clone(), running[1].clone()  # a repetition must keep as many tensors for its backward
        elif self.counts:
            self.num_batches_tracked += 1
        return native_batch_norm(x, self.weight, self.bias, running, self.momentum, self.eps, self.synchronised)

    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        with torch.no_grad():
            if self.counts:
                self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, momentum={self.momentum}, eps={self.eps}"


class BatchCounts:
    """Moves the counts of batches of all BatchNorms of `module` by one operation at each of the module's forwards."""

    def __init__(self, module: nn.Module) -> None:
        self._norms = [part for part in module.modules() if isinstance(part, BatchNorm)]
        for norm in self._norms:
            norm.counts = False

    @torch.no_grad()
    def add(self) -> None:
        if self._norms and not _Mode.recomputing:
            torch._foreach_add_([norm.num_batches_tracked for norm in self._norms], 1)


def batch_statistics(module: nn.Module, over: str) -> nn.Module:
    """Let every BatchNorm of `module` take its moments over `global` (all workers') or `local` batches; returns it.

    Local ones cost no message. They are noisier, and the training is no longer that of one process with the batch of
    all; each worker's running statistics are its own, and rank 0's are kept.
    """
    for part in module.modules():
        if isinstance(part, BatchNorm):
            part.synchronised = over == "global"
    return module


@contextmanager
def recomputation() -> Iterator[None]:
    """Within it a forward is the repetition of an earlier one, whose batch the running statistics have seen."""
    before, _Mode.recomputing = _Mode.recomputing, True
    try:
        yield
    finally:
        _Mode.recomputing = before


@contextmanager
def power_iteration_at_rest(rest: bool = True) -> Iterator[None]:
    """Within it, if `rest`, no forward moves the spectral norms' u and v: the parts of one batch move them once."""
    before, _Mode.at_rest = _Mode.at_rest, rest
    try:
        yield
    finally:
        _Mode.at_rest = before


class Dropout(nn.Module):
    """Zero each value with probability p, and scale the others: (B, *) -> (B, *).

    Drawn for the batch of all workers at once, of which each takes its rows: seeded alike, W workers drop what one
    process with the whole batch does.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        everyone = torch.rand(collective.world_size() * len(x), *x.shape[1:], device=x.device)
        kept = everyone[collective.rank() * len(x) :][: len(x)] >= self.p
        return x * kept / (1 - self.p)


class GatedBatchNorm(BatchNorm):
    """Batch normalisation and the gated linear unit behind it: (B, 2C, *) -> (B, C, *), see `gated`."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return gated(super().forward(x))
        return F.glu(self._native(x), dim=1) if x.device.type == "cuda" else self._normalised(NormaliseAndGate, x)


class Upsample(nn.Sequential):
    """(B, C_in, H, W) -> (B, C_out, 2H, 2W): nearest ×2, 3×3 convolution, normalisation, gated linear unit.

    Half of C_in stands for itself twice, as in `WideConv2d`.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        # Numbered as in the authors' checkpoints, where the upsampling is 0.
        super().__init__(
            OrderedDict(
                [("1", UpsamplingConv2d(channels_in, 2 * channels_out)), ("2", GatedBatchNorm(2 * channels_out))]
            )
        )


class ResidualBlock(nn.Module):
    """(B, C, H, W) -> (B, C, H, W). Half of C stands for itself twice, as in `WideConv2d`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Numbered as in the authors' checkpoints, where the gated linear unit is 2.
        self.block = nn.Sequential(
            OrderedDict(
                [
                    ("0", WideConv2d(channels, 2 * channels)),
                    ("1", GatedBatchNorm(2 * channels)),
                    ("3", nn.Conv2d(channels, channels, 3, padding=1, bias=False)),
                    ("4", BatchNorm(channels)),
                ]
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        if x.shape == y.shape:
            return y.add_(x)
        # Beside itself: the gradient of x is then a sum of two slices, in the memory format that they have.
        return torch.cat([x] * (y.shape[1] // x.shape[1]), dim=1).add_(y)


_BATCH = 16  # images, for which a spectral norm's convolution chooses


class SpectralNormConv2d(nn.Module):
    """A convolution whose weight is divided by its largest singular value σ (Miyato et al., 2018; DM-GAN §3.3).

    One power iteration precedes each forward in training mode: v ← Wᵀu/‖Wᵀu‖, u ← Wv/‖Wv‖, σ = uᵀWv, with W the
    weight as (out, in·k·k). u and v are constants of that forward's gradient and buffers of the module. In evaluation
    mode they stay as they are.
    """

    u: Tensor
    v: Tensor
    _divided: Tensor | None = None  # the weight over σ, within `spectral_norms_at_once`

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels_in, channels_out, kernel)
        self.stride, self.padding = stride, padding
        self.weight, self.bias = convolution.weight, convolution.bias
        self.register_buffer("u", _direction(channels_out))
        self.register_buffer("v", _direction(channels_in * kernel * kernel))

    def forward(self, x: Tensor) -> Tensor:
        if self._divided is not None:
            return F.conv2d(x, self._divided, self.bias, self.stride, self.padding)
        with torch.autocast(x.device.type, enabled=False):  # the power iteration needs all digits
            largest = self._largest(self.weight.flatten(1))
            if self._has_more_weights_than(x):
                x, weight = x / largest, self.weight
            else:
                weight = self.weight / largest
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)

    def _has_more_weights_than(self, x: Tensor) -> bool:
        """Whether it is less work to divide x by σ than the weight, at the paper's batches. The same for any batch, so
        that a part of a batch is computed as the whole is."""
        return self.weight[:, 0].numel() > _BATCH * x.shape[2] * x.shape[3]

    def _largest(self, matrix: Tensor) -> Tensor:
        """σ, of vectors of its own: the next forward moves the buffers while this one still waits for its backward."""
        if not self.training or _Mode.at_rest:
            return self.u.clone() @ (matrix @ self.v.clone())
        v = _unit(matrix.detach().t() @ self.u)
        grown = matrix @ v
        u = _unit(grown.detach())
        self.v.copy_(v)
        self.u.copy_(u)
        return u @ grown


@contextmanager
def spectral_norms_at_once(module: nn.Module) -> Iterator[None]:
    """For one forward, in which every `SpectralNormConv2d` of the module takes part once: all their norms together.

    Only on a GPU, for which one layer's are many small kernels, and in training. Elsewhere, under torch.compile, which
    makes few of them itself, and where ZeRO 3 gathers weights layer by layer, each layer has its own.
    """
    layers = [part for part in module.modules() if isinstance(part, SpectralNormConv2d)]
    moving = not _Mode.at_rest and all(layer.training for layer in layers)
    on_gpu = all(layer.weight.is_cuda and layer.weight.numel() for layer in layers)
    if not (layers and moving and on_gpu) or torch.compiler.is_compiling():
        yield
        return
    with torch.autocast("cuda", enabled=False):
        divided = spectral.normalised([spectral.Iterated(layer.weight, layer.u, layer.v) for layer in layers])
    try:
        for layer, weight in zip(layers, divided, strict=True):
            layer._divided = weight
        yield
    finally:
        for layer in layers:
            layer._divided = None


def _direction(length: int) -> Tensor:
    """A random vector of length 1. On the meta device, which has no numbers, drawing would import torch's compiler."""
    drawn = torch.empty(length)
    return drawn if drawn.is_meta else F.normalize(drawn.normal_(), dim=0)


def _unit(x: Tensor, eps: float = 1e-12) -> Tensor:
    return x / (x.norm() + eps)
