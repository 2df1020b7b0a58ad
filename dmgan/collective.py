"""The few collective operations the mathematics needs, with gradients; the identity on one process.

Every worker minimises the *mean over workers* of its loss (the engine averages gradients), so an operation here must
send back the sum over workers of the incoming gradients. `torch.distributed.nn` does exactly that.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["all_gather", "all_reduce_mean", "rank", "world_size"]


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def all_gather(x: Tensor) -> Tensor:
    """Concatenate `x` (B, …) of all workers along the batch, in rank order: (W·B, …); differentiable."""
    if world_size() == 1:
        return x
    if x.dtype == torch.bool:
        return all_gather(x.to(torch.uint8)).bool()
    return _Gather.apply(x)


def all_reduce_mean(x: Tensor) -> Tensor:
    """The mean of `x` over workers, not differentiable; `x` itself is left alone."""
    if world_size() == 1:
        return x
    x = x.detach().clone()
    dist.all_reduce(x)
    return x / world_size()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.chunk(world_size())[rank()]


class AllReduceSum(torch.autograd.Function):
    """Sum over workers, whose gradient is again the sum over workers."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad
