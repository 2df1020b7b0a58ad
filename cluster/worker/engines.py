"""DeepSpeed behind `dmgan.training.engine.Engine`. Import this inside a worker: importing deepspeed costs seconds."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from dmgan.training.engine import (
    MOMENTS,
    EngineState,
    adam,
    adam_state,
    all_finite,
    cpu_copy,
    load_adam_state,
    second_moments,
    step_count,
)

__all__ = ["DeepSpeedEngine", "initialise", "spans_nodes"]

BUCKET = 2_500_000  # gradients of a message that is sent while others are made: 10 MB


def initialise(device: torch.device) -> None:
    """Let DeepSpeed take over the process group that Ray Train has set up. Once in a process."""
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ.setdefault("LOCAL_RANK", "0")
    with _not_imported("mlflow"):
        import deepspeed

    deepspeed.utils.logger.setLevel(logging.ERROR)
    # The shared-memory op is compiled at first use, behind a file lock that a killed compile leaves behind.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("nccl" if device.type == "cuda" else "gloo", dist_init_required=False)


@contextmanager
def _not_imported(module: str) -> Iterator[None]:
    """DeepSpeed's autotuner, which is not used here, imports MLflow where it is installed: a second of every start."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


def spans_nodes() -> bool:
    """Whether the workers are GPUs of more than one node, as Ray Train's environment has it."""
    workers = dist.get_world_size()
    return dist.get_backend() == "nccl" and int(os.environ.get("LOCAL_WORLD_SIZE", workers)) < workers


class DeepSpeedEngine:
    """A module sharded by ZeRO with Adam; an `Engine`.

    Gradients are averaged over workers and not clipped; with `overlap` while the backward pass goes on. Every worker
    must pass the same weights and buffers, which the same seed gives; rank 0's are sent to the others all the same.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        lr: float,
        betas: tuple[float, float],
        zero_stage: int,
        overlap: bool = False,
        batch_size: int,
        accumulate: int = 1,
    ) -> None:
        import deepspeed

        for buffer in module.buffers():  # DeepSpeed broadcasts parameters only
            dist.broadcast(buffer, 0)
        self.zero_stage = zero_stage
        # All gradients at once, and no more: DeepSpeed's own bucket is 2 GB an engine, used or not. With `overlap` in
        # parts, each sent while the backward pass makes the next.
        whole = sum(p.numel() for p in module.parameters() if p.requires_grad)
        zero: dict[str, Any] = {
            "stage": zero_stage,
            "overlap_comm": overlap,
            "reduce_bucket_size": min(whole, BUCKET) if overlap else whole,
        }
        if zero_stage in (1, 2):
            # With a norm DeepSpeed leaves out the update of a non-finite gradient and goes on; `healthy` must see it.
            zero["compute_grad_norm"] = False
        self._engine, *_ = deepspeed.initialize(
            model=module,
            optimizer=adam(module, lr, betas),
            config={
                "train_micro_batch_size_per_gpu": batch_size,
                "gradient_accumulation_steps": accumulate,
                "gradient_clipping": 0.0,
                "zero_optimization": zero,
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
                "steps_per_print": 2**62,
                "timers": {"throughput": {"enabled": False}},  # for which the host waits four times a step
            },
        )
        self.module: nn.Module = self._engine.module

    def __call__(self, *inputs: Any) -> Any:
        return self._engine(*inputs)

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss)

    def step(self) -> None:
        self._engine.step()

    @property
    def lr(self) -> float:
        return float(self._engine.optimizer.param_groups[0]["lr"])

    def set_lr(self, lr: float) -> None:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr

    def full_weights(self) -> AbstractContextManager[object]:
        if self.zero_stage < 3:
            return nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters(list(self.module.parameters()), modifier_rank=None)

    def healthy(self) -> Tensor:
        held = [getattr(p, "ds_tensor", p) for p in self.module.parameters()]  # ZeRO 3: this worker's shares
        optimizer = self._engine.optimizer if self.zero_stage == 0 else self._engine.optimizer.optimizer
        finite = all_finite([p for p in (*held, *second_moments(optimizer)) if p.numel()])
        # At stage 3 DeepSpeed always leaves out the update of a non-finite gradient, and says so on the host.
        return finite & (not self._engine.optimizer.overflow) if self.zero_stage == 3 else finite

    def state(self) -> EngineState | None:
        with self.full_weights():
            weights = cpu_copy(self.module.state_dict())
        moments, steps = self._moments()
        return EngineState(weights, moments, steps) if dist.get_rank() == 0 else None

    def load_state(self, state: EngineState) -> None:
        self._load_weights(state.weights)
        if not state.steps:
            return
        if self.zero_stage == 0:
            load_adam_state(self.module, self._engine.optimizer, state)
            return
        self._prepare_moments(state.steps)
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        for name, p in self._trained():
            for kind in MOMENTS:
                value = state.moments[kind][name].to(p.device)
                if self.zero_stage == 3:
                    safe_set_local_optimizer_state(p, _share(value, p), kind)
                else:
                    safe_set_full_optimizer_state(p, value, kind)

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.module.named_parameters() if p.requires_grad]

    def _moments(self) -> tuple[dict[str, dict[str, Tensor]], int]:
        if self.zero_stage == 0:
            return adam_state(self.module, self._engine.optimizer)
        from deepspeed.utils import safe_get_full_optimizer_state

        states = list(self._engine.optimizer.optimizer.state.values())
        if not states:
            return {kind: {} for kind in MOMENTS}, 0
        moments = {
            kind: cpu_copy({name: safe_get_full_optimizer_state(p, kind) for name, p in self._trained()})
            for kind in MOMENTS
        }
        return moments, int(states[0]["step"])

    @torch.no_grad()
    def _load_weights(self, weights: dict[str, Tensor]) -> None:
        """Into the module and, where DeepSpeed has one, its float32 master copy."""
        stored = self.module.state_dict().keys()
        for name, buffer in self.module.named_buffers():
            if name in stored:  # others are constants, or made from weights that are frozen
                buffer.copy_(weights[name])
        if self.zero_stage == 3:
            import deepspeed
            from deepspeed.utils import safe_set_local_fp32_param

            with deepspeed.zero.GatheredParameters(list(self.module.parameters()), modifier_rank=0):
                if dist.get_rank() == 0:
                    for name, p in self.module.named_parameters():
                        p.copy_(weights[name])
            for _, p in self._trained():
                safe_set_local_fp32_param(p, p.ds_tensor.detach().flatten())  # type: ignore[attr-defined]
            return
        for name, p in self.module.named_parameters():
            p.copy_(weights[name])
        if self.zero_stage:
            from deepspeed.utils import safe_set_full_fp32_param

            for name, p in self._trained():
                safe_set_full_fp32_param(p, weights[name].to(p.device))

    def _prepare_moments(self, steps: int) -> None:
        """Adam makes its moments at its first step, and DeepSpeed links parameters to them then; have both now."""
        sharded = self._engine.optimizer
        whole = self.zero_stage < 3
        for flat in sharded.single_partition_of_fp32_groups if whole else sharded.fp32_partitioned_groups_flat:
            state = sharded.optimizer.state[flat]
            for kind in MOMENTS:
                state.setdefault(kind, torch.zeros_like(flat))
            state["step"] = step_count(sharded.optimizer, steps, flat.device)
        if whole:
            sharded._lazy_init_hp_params_optimizer_state()


def _share(value: Tensor, p: nn.Parameter) -> Tensor:
    """This worker's part of a whole tensor as ZeRO 3 cuts it: equal parts, the last one padded."""
    size = p.ds_tensor.numel()  # type: ignore[attr-defined]
    padded = F.pad(value.flatten(), (0, size * dist.get_world_size() - value.numel()))
    return padded[dist.get_rank() * size :][:size]
