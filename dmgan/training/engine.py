"""What a training step needs of whatever holds the weights: plain PyTorch here, DeepSpeed in `cluster.worker`."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import safetensors.torch
import torch
from torch import Tensor, nn

__all__ = [
    "MOMENTS",
    "Engine",
    "EngineState",
    "MakeEngine",
    "PlainEngine",
    "adam",
    "adam_state",
    "all_finite",
    "cpu_copy",
    "finite_numbers",
    "load_adam_state",
    "plain_engine",
    "second_moments",
    "step_count",
]

MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's first and second, as torch names them


@dataclass
class EngineState:
    """A module and its Adam, whole and on the CPU, whatever number of workers and way of sharding held them.

    `weights` are parameters and buffers by name, `moments[kind]` those of the trained parameters, `steps` Adam's count.
    """

    weights: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]
    steps: int

    def to_bytes(self) -> bytes:
        """As safetensors: weights/NAME, exp_avg/NAME, exp_avg_sq/NAME."""
        tensors = {f"weights/{name}": tensor for name, tensor in self.weights.items()}
        tensors |= {f"{kind}/{name}": t for kind, named in self.moments.items() for name, t in named.items()}
        return safetensors.torch.save(tensors, metadata={"steps": str(self.steps)})

    @classmethod
    def from_bytes(cls, content: bytes) -> EngineState:
        tensors = safetensors.torch.load(content)
        parts: dict[str, dict[str, Tensor]] = {kind: {} for kind in ("weights", *MOMENTS)}
        for key, tensor in tensors.items():
            kind, _, name = key.partition("/")
            parts[kind][name] = tensor
        return cls(parts.pop("weights"), parts, int(_metadata(content)["steps"]))


def _metadata(content: bytes) -> dict[str, str]:
    """safetensors reads metadata from files alone; its header is JSON after eight bytes of length."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found


class Engine(Protocol):
    """A module with its optimizer.

    One `backward` a `step`, as ZeRO 1 and 2 are silently wrong with more. Of an engine that accumulates n parts of a
    batch, both are called for each part; the weights move at every n-th.
    """

    module: nn.Module

    def __call__(self, *inputs: Any) -> Any: ...

    def backward(self, loss: Tensor) -> None:
        """Gradients of `loss`, averaged over workers and accumulated parts, for the next `step`."""

    def step(self) -> None:
        """Update the weights and forget the gradients."""

    @property
    def lr(self) -> float: ...

    def set_lr(self, lr: float) -> None: ...

    def full_weights(self) -> AbstractContextManager[object]:
        """Within it the module's parameters are whole on every worker, to be read."""

    def healthy(self) -> Tensor:
        """Whether all weights this worker holds are finite: a boolean on the device, without waiting for it."""

    def state(self) -> EngineState | None:
        """Everything `load_state` needs, on rank 0; None on the others. Every worker calls it."""

    def load_state(self, state: EngineState) -> None:
        """Go on from a state, also one of another number of workers; every worker calls it with the same."""


class MakeEngine(Protocol):
    """Puts a module into an engine: with Adam at `lr` and `betas`, for batches of `batch_size` images a worker."""

    def __call__(
        self, module: nn.Module, *, lr: float, betas: tuple[float, float], batch_size: int, accumulate: int = 1
    ) -> Engine: ...


class PlainEngine:
    """An `Engine` of one process with `torch.optim.Adam`."""

    def __init__(self, module: nn.Module, lr: float, betas: tuple[float, float], accumulate: int = 1) -> None:
        self.module, self._accumulate, self._parts = module, accumulate, 0
        self.optimizer = adam(module, lr, betas)

    def __call__(self, *inputs: Any) -> Any:
        return self.module(*inputs)

    def backward(self, loss: Tensor) -> None:
        (loss if self._accumulate == 1 else loss / self._accumulate).backward()

    def step(self) -> None:
        self._parts = (self._parts + 1) % self._accumulate
        if self._parts:
            return
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @property
    def lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def full_weights(self) -> AbstractContextManager[object]:
        return nullcontext()

    def healthy(self) -> Tensor:
        return all_finite([*self.module.parameters(), *second_moments(self.optimizer)])

    def state(self) -> EngineState:
        return EngineState(cpu_copy(self.module.state_dict()), *adam_state(self.module, self.optimizer))

    def load_state(self, state: EngineState) -> None:
        self.module.load_state_dict(state.weights)
        load_adam_state(self.module, self.optimizer, state)


def plain_engine(
    module: nn.Module, *, lr: float, betas: tuple[float, float], batch_size: int, accumulate: int = 1
) -> PlainEngine:
    """The `MakeEngine` of one process."""
    return PlainEngine(module, lr, betas, accumulate)


def adam(module: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Of the module's trained parameters. A fused kernel reads and writes each once: one kernel for all of them on a
    GPU, one a parameter on the CPU."""
    trained = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.Adam(trained, lr, betas, fused=all(p.device.type in ("cpu", "cuda") for p in trained) or None)


def step_count(optimizer: torch.optim.Optimizer, steps: int, device: torch.device) -> Tensor:
    """Adam's count of steps as its state holds it: where the parameters are if one kernel updates them."""
    return torch.tensor(float(steps), device=device if optimizer.defaults["fused"] else "cpu")


@torch.no_grad()
def all_finite(tensors: list[Tensor]) -> Tensor:
    return finite_numbers(torch.stack(torch._foreach_norm(tensors))).all()


def finite_numbers(x: Tensor) -> Tensor:
    """As `torch.isfinite`, which takes four operations: an infinity less itself is none that equals 0."""
    return (x - x) == 0


def second_moments(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Where a gradient too large to square shows, which the weights' step then hides."""
    return [state["exp_avg_sq"] for state in optimizer.state.values() if "exp_avg_sq" in state]


def cpu_copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def adam_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, dict[str, Tensor]], int]:
    """Moments and steps of an optimizer that holds the module's own parameters."""
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    states = {name: optimizer.state[p] for name, p in trained.items() if p in optimizer.state}
    moments = {kind: cpu_copy({name: state[kind] for name, state in states.items()}) for kind in MOMENTS}
    return moments, int(next(iter(states.values()))["step"]) if states else 0


def load_adam_state(module: nn.Module, optimizer: torch.optim.Optimizer, state: EngineState) -> None:
    for name, p in module.named_parameters():
        if p.requires_grad and state.steps:
            # In the weight's memory format: a fused kernel goes through memory, whatever the strides.
            moments = {kind: torch.empty_like(p).copy_(state.moments[kind][name]) for kind in MOMENTS}
            optimizer.state[p] = {"step": step_count(optimizer, state.steps, p.device), **moments}
