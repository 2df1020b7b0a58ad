"""The few collective operations the mathematics needs, with gradients; the identity on one process.

Every worker minimises the *mean over workers* of its loss (the engine averages gradients), so an operation here must
send back the sum over workers of the incoming gradients. `torch.distributed.nn` does exactly that.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["all_gather", "all_reduce_sum", "gather_objects", "rank", "world_size"]


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def all_gather(*tensors: Tensor) -> list[Tensor]:
    """Concatenate each (b, …) of all workers along the batch, in rank order: (W·b, …); floating ones differentiable.

    Tensors of one kind (floating, or integer and bool) travel in one message: latency is what a small one costs.
    """
    if world_size() == 1:
        return list(tensors)
    whole: list[Tensor] = list(tensors)
    for floating in (True, False):
        chosen = [i for i, x in enumerate(tensors) if x.is_floating_point() == floating]
        if not chosen:
            continue
        rows = [tensors[i].flatten(1) if tensors[i].dim() > 1 else tensors[i][:, None] for i in chosen]
        kind = torch.promote_types(rows[0].dtype, torch.float32) if floating else torch.int64
        packed = _Gather.apply(torch.cat([row.to(kind) for row in rows], dim=1))
        for i, part in zip(chosen, packed.split([row.shape[1] for row in rows], dim=1), strict=True):
            whole[i] = part.reshape(-1, *tensors[i].shape[1:]).to(tensors[i].dtype)
    return whole


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum of `x` over workers, not differentiable; `x` itself is left alone."""
    if world_size() == 1:
        return x
    x = x.detach().clone()
    dist.all_reduce(x)
    return x


def gather_objects(value: Any) -> list[Any]:
    """Each worker's `value`, in rank order; for small things now and then."""
    found: list[Any] = [value] * world_size()
    if world_size() > 1:
        dist.all_gather_object(found, value)
    return found


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.chunk(world_size())[rank()]
