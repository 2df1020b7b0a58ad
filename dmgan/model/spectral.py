"""Spectral norms of several weights at once, in fewer and larger kernels than one by one: for GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Iterated", "normalised"]

_EPS = 1e-12


class Iterated(NamedTuple):
    """A weight (out, in, k, k) with its vectors u (out,) and v (in·k·k,) of the power iteration."""

    weight: Tensor
    u: Tensor
    v: Tensor


def normalised(layers: Sequence[Iterated]) -> tuple[Tensor, ...]:
    """Each weight divided by its largest singular value σ, after a power iteration that moves u and v in place.

    As `dmgan.model.layers.SpectralNormConv2d` of each: u and v, as they are then, are constants of the gradient.
    """
    return _Normalise.apply(len(layers), *(t for layer in layers for t in (layer.weight, layer.u, layer.v)))


class _Normalise(torch.autograd.Function):
    """W/σ with σ = uᵀWv, hence dL/dW = (G − ⟨G, W/σ⟩ u vᵀ)/σ for a gradient G."""

    @staticmethod
    def forward(ctx: Any, count: int, *flat: Tensor) -> tuple[Tensor, ...]:
        weights, us, vs = ([*flat[kind::3]] for kind in range(3))
        matrices = [weight.flatten(1) for weight in weights]
        right, _ = _units([matrix.t() @ u for matrix, u in zip(matrices, us, strict=True)])
        left, norms = _units([matrix @ v for matrix, v in zip(matrices, right, strict=True)])
        torch._foreach_copy_(vs, right)
        torch._foreach_copy_(us, left)
        # σ = uᵀWv, where u = Wv/(‖Wv‖ + ε).
        inverse = [*((norms + _EPS) / norms.square()).unbind()]
        divided = torch._foreach_mul(weights, inverse)
        ctx.count = count
        ctx.save_for_backward(*divided, *left, *right, *inverse)
        return tuple(divided)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        divided, left, right, inverse = (ctx.saved_tensors[i * ctx.count :][: ctx.count] for i in range(4))
        along = torch.stack([grad.flatten().dot(w.flatten()) for grad, w in zip(grads, divided, strict=True)]).neg()
        scaled = torch._foreach_mul([*left], [*along.unbind()])
        rows = [grad.flatten(1) for grad in grads]
        sums = [torch.addr(row, u, v) for row, u, v in zip(rows, scaled, right, strict=True)]
        torch._foreach_mul_(sums, [*inverse])
        found: list[Tensor | None] = [None]
        for total, weight in zip(sums, divided, strict=True):
            found += [total.view(weight.shape), None, None]
        return tuple(found)


def _units(vectors: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """The vectors at length 1, in place, and their lengths before (n,)."""
    lengths = torch.stack(torch._foreach_norm(vectors))
    torch._foreach_div_(vectors, [*(lengths + _EPS).unbind()])
    return vectors, lengths
