"""What a training step needs of whatever holds the weights: plain PyTorch here, DeepSpeed in `cluster.engines`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Engine", "PlainEngine"]


class Engine(Protocol):
    """A module with its optimizer. One `backward` a `step`, as ZeRO 1 and 2 are silently wrong with more."""

    module: nn.Module

    def __call__(self, *inputs: Any) -> Any: ...

    def backward(self, loss: Tensor) -> None:
        """Gradients of `loss`, averaged over workers, for the next `step`."""

    def step(self) -> None:
        """Update the weights and forget the gradients."""

    def set_lr(self, lr: float) -> None: ...

    def full_weights(self) -> AbstractContextManager[Any]:
        """Within it the module's parameters are whole on every worker, to be read."""


class PlainEngine:
    """An `Engine` of one process with `torch.optim.Adam`."""

    def __init__(self, module: nn.Module, lr: float, betas: tuple[float, float]) -> None:
        self.module = module
        self.optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr, betas)

    def __call__(self, *inputs: Any) -> Any:
        return self.module(*inputs)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def full_weights(self) -> AbstractContextManager[Any]:
        return nullcontext()
