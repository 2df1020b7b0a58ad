"""Spectral norms of several weights at once are those of one after the other, in values, gradients and vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dmgan.model.layers import SpectralNormConv2d
from dmgan.model.spectral import Iterated, normalised


def layers() -> list[SpectralNormConv2d]:
    torch.manual_seed(0)
    return [SpectralNormConv2d(*sizes).double() for sizes in ((3, 4, 4), (4, 6, 3), (6, 2, 1))]


def test_together_they_are_as_alone_forwards_and_backwards() -> None:
    """Twice before the backward pass, as a step of the discriminators and one of the generator may come."""
    alone, together = layers(), layers()
    inputs = [torch.randn(2, layer.weight.shape[1], 5, 5, dtype=torch.float64) for layer in alone]
    losses = [torch.zeros((), dtype=torch.float64) for _ in range(2)]
    for power in (1, 2):
        for layer, x in zip(alone, inputs, strict=True):
            losses[0] = losses[0] + layer(x).pow(power).sum()
        weights = normalised([Iterated(layer.weight, layer.u, layer.v) for layer in together])
        for layer, weight, x in zip(together, weights, inputs, strict=True):
            losses[1] = losses[1] + F.conv2d(x, weight, layer.bias, layer.stride, layer.padding).pow(power).sum()
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(other.u, one.u, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(other.v, one.v, rtol=1e-12, atol=1e-12)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-12, atol=0)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(other.weight.grad, one.weight.grad, rtol=1e-10, atol=1e-10)
