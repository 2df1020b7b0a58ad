"""Batch normalisation by CUDA's own kernels, over the batches of all workers or of one.

Shapes: B batch, C channels, `*` any number of spatial dimensions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from dmgan.model import collective

__all__ = ["native_batch_norm"]


def native_batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor],
    momentum: float,
    eps: float,
    synchronised: bool,
) -> Tensor:
    """x (B, C, *) on a GPU, normalised over this batch, or over those of all workers if `synchronised`.

    Moves the `running` mean and variance (C,). x may be of a reduced precision, the others are float32.
    """
    if synchronised and collective.world_size() > 1:
        return _Synchronised.apply(x, weight, bias, *running, momentum, eps)
    return F.batch_norm(x, *running, weight, bias, training=True, momentum=momentum, eps=eps)


class _Synchronised(torch.autograd.Function):
    """As torch's SyncBatchNorm, with equal batches, so that nothing waits to learn whose are empty."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_variance: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        x = x.contiguous() if not x.is_contiguous(memory_format=torch.channels_last) else x
        workers, count = collective.world_size(), x.numel() // x.shape[1]
        mine = torch.stack(torch.batch_norm_stats(x, eps))
        everyone = mine.new_empty(workers, *mine.shape)
        dist.all_gather_into_tensor(everyone, mine)
        counts = torch.full((workers,), float(count), dtype=mine.dtype, device=x.device)
        mean, invstd = torch.batch_norm_gather_stats_with_counts(
            x, everyone[:, 0], everyone[:, 1], running_mean, running_variance, momentum, eps, counts
        )
        ctx.save_for_backward(x, weight, mean, invstd, counts.to(torch.int32))
        return torch.batch_norm_elemt(x, weight, bias, mean, invstd, eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, invstd, counts = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.contiguous_format if x.is_contiguous() else torch.channels_last)
        of_output, of_product, grad_weight, grad_bias = torch.batch_norm_backward_reduce(
            grad, x, mean, invstd, weight, True, True, True
        )
        sums = torch.stack([of_output, of_product])
        dist.all_reduce(sums)
        found = torch.batch_norm_backward_elemt(grad, x, mean, invstd, weight, sums[0], sums[1], counts)
        return found, grad_weight, grad_bias, None, None, None, None
