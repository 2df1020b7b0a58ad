"""The exponential moving average of the generator, which is what samples and scores are made with."""

from __future__ import annotations

import copy

import torch
from torch import nn

from dmgan.training.engine import Engine

__all__ = ["Average"]


class Average:
    """θ_ema ← d θ_ema + (1 − d) θ, d = `decay`.

    With `warmup` d = min(decay, (1 + step)/(10 + step)), so that short runs average too.
    Parameters are averaged; buffers (BatchNorm statistics, themselves averages) are copied. It starts as a copy of a
    module that no engine holds yet: ZeRO 3 leaves hooks on a module, and a copy would take them along.
    """

    def __init__(self, module: nn.Module, decay: float, warmup: bool = True) -> None:
        self.decay, self.warmup = decay, warmup
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, engine: Engine, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay
        with engine.full_weights():
            current = [p.detach() for p in engine.module.parameters()]
            torch._foreach_lerp_(list(self.module.parameters()), current, 1 - decay)
        # Of one kind of number at a time, which one kernel copies.
        for floating in (True, False):
            mine, theirs = (
                [b for b in module.buffers() if b.is_floating_point() == floating]
                for module in (self.module, engine.module)
            )
            torch._foreach_copy_(mine, theirs)
