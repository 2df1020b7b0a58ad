"""DeepSpeed behind `dmgan.engine.Engine`. Import this inside a worker: importing deepspeed costs seconds."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["DeepSpeedEngine", "initialise"]


def initialise(device: torch.device) -> None:
    """Let DeepSpeed take over the process group that Ray Train has set up. Once in a process."""
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ.setdefault("LOCAL_RANK", "0")
    import deepspeed

    deepspeed.utils.logger.setLevel(logging.ERROR)
    # The shared-memory op is compiled at first use, behind a file lock that a killed compile leaves behind.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("nccl" if device.type == "cuda" else "gloo", dist_init_required=False)


class DeepSpeedEngine:
    """A module sharded by ZeRO with Adam; an `Engine`.

    Gradients are averaged over workers and not clipped. Every worker must pass the same weights and buffers, which
    the same seed gives; rank 0's are sent to the others all the same.
    """

    def __init__(
        self, module: nn.Module, *, lr: float, betas: tuple[float, float], zero_stage: int, batch_size: int
    ) -> None:
        import deepspeed

        for buffer in module.buffers():  # DeepSpeed broadcasts parameters only
            dist.broadcast(buffer, 0)
        self.zero_stage = zero_stage
        optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr, betas)
        self._engine, *_ = deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            config={
                "train_micro_batch_size_per_gpu": batch_size,
                "gradient_accumulation_steps": 1,
                "gradient_clipping": 0.0,
                "zero_optimization": {"stage": zero_stage, "overlap_comm": False},
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
                "steps_per_print": 2**62,
            },
        )
        self.module: nn.Module = self._engine.module

    def __call__(self, *inputs: Any) -> Any:
        return self._engine(*inputs)

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss)

    def step(self) -> None:
        self._engine.step()

    def set_lr(self, lr: float) -> None:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr

    def full_weights(self) -> AbstractContextManager[Any]:
        if self.zero_stage < 3:
            return nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters(list(self.module.parameters()), modifier_rank=None)

    def save(self, folder: Path) -> None:
        """Write this worker's part of weights, buffers and moments; every worker calls it."""
        self._engine.save_checkpoint(str(folder), tag="state")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote with the same number of workers and ZeRO stage."""
        path, _ = self._engine.load_checkpoint(str(folder), tag="state")
        if path is None:
            raise RuntimeError(f"{folder}: DeepSpeed found no checkpoint there")
