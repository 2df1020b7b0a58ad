"""Inception-v3's batch normalisation folded into its convolutions, whose weights keep their names on disk.

Shapes: C channels, k×k kernels.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmgan.model.merging import MergedBlock, merging

__all__ = ["fold_batch_norms", "keep_folded"]


class _Scaled(nn.Conv2d):
    """A convolution whose weight is multiplied by `scale` (C_out,) and whose bias is `shift` (C_out,)."""

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:  # type: ignore[override]
        return F.conv2d(x, self.folded(scale), shift, self.stride, self.padding)

    def folded(self, scale: Tensor) -> Tensor:
        return self.weight * scale[:, None, None, None]


class _Affine(nn.BatchNorm2d):
    """What normalisation by running statistics does to a channel: -> scale γ/σ, shift β − μ·γ/σ, each (C,)."""

    def forward(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        assert self.running_mean is not None and self.running_var is not None
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


class _Folded(nn.Module):
    """A frozen convolution without bias, its batch normalisation by fixed statistics, and a rectifier.

    Each part's weights are used by its own forward, which is where ZeRO 3 has them. Every forward folds them again;
    after `keep` none does, and the weights must change no more but by `load_state_dict`.
    """

    kept_weight: Tensor | None
    kept_bias: Tensor | None

    def __init__(self, conv: nn.Conv2d, bn: nn.BatchNorm2d) -> None:
        super().__init__()
        conv.__class__, bn.__class__ = _Scaled, _Affine  # the modules themselves, wherever their weights are
        self.conv, self.bn = cast(_Scaled, conv), cast(_Affine, bn)
        self.register_buffer("kept_weight", None, persistent=False)
        self.register_buffer("kept_bias", None, persistent=False)

    @torch.no_grad()
    def keep(self, dtype: torch.dtype | None) -> None:
        scale, shift = self.bn()
        dtype = dtype or shift.dtype
        self.kept_weight, self.kept_bias = self.conv.folded(scale).to(dtype), shift.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.convolved(x), inplace=True)

    def convolved(self, x: Tensor) -> Tensor:
        """Without the rectifier."""
        if self.kept_weight is None:
            return self.conv(x, *self.bn())
        return F.conv2d(x, self.kept_weight, self.kept_bias, self.conv.stride, self.conv.padding)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self.kept_weight = self.kept_bias = None
        super()._load_from_state_dict(*arguments, **options)


def fold_batch_norms(network: nn.Module) -> None:
    """Fold every `BasicConv2d` of torchvision's or torch-fidelity's Inception-v3, which stays in evaluation mode.

    Its blocks become `MergedBlock`s.
    """
    for name, part in network.named_children():
        parts = dict(part.named_children())
        if parts.keys() == {"conv", "bn"}:
            setattr(network, name, _Folded(parts["conv"], parts["bn"]))  # type: ignore[arg-type]
        else:
            fold_batch_norms(part)
            merging(part)


def keep_folded(network: nn.Module, dtype: torch.dtype | None = None) -> None:
    """Let the folded parts of `network`, whose weights change no more, fold once and not at every forward.

    They stay in their precision or go into `dtype`. With a reduced one every forward must be within its autocast, which
    then rounds no weight again.
    """
    parts = list(network.modules())
    for folded in (part for part in parts if isinstance(part, _Folded)):
        folded.keep(dtype)
    for block in (part for part in parts if isinstance(part, MergedBlock)):
        block.merge()  # what its convolutions keep
