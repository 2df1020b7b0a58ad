"""`checkpoint`, `deepspeed`: what `cluster` adds to training."""

from __future__ import annotations

from typing import ClassVar, Literal

from dmgan.config.keys import Positive, Rate, Role, Section, key

__all__ = ["Checkpoint", "DeepSpeed"]


class Checkpoint(Section):
    """How often training is saved, and how it ends."""

    ROLES: ClassVar[tuple[Role, ...]] = ("not searched",)

    every_steps: Positive = key(1000, "steps between checkpoints")
    keep: Positive = key(3, "checkpoints that are kept, the newest")
    grace_seconds: Rate = key(60.0, "seconds to write a checkpoint after SIGTERM or Ctrl-C")
    lease_seconds: Rate = key(30.0, "seconds without a sign of life after which another driver takes a run over")


class DeepSpeed(Section):
    """How state is shared out among workers."""

    zero_stage: Literal[0, 1, 2, 3] = key(1, "ZeRO stage: what workers share out among them")
    overlap: Literal["auto", "always", "never"] = key(
        "auto",
        "whether gradients are sent in parts while the backward pass makes the others; auto: by GPUs of several nodes",
    )
