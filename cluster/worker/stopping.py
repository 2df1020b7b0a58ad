"""All workers stop, or write a checkpoint, at the same step when one of them wants to."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import torch
import torch.distributed as dist

from dmgan.model import collective

__all__ = ["Agreement", "Wish"]


class Wish(IntEnum):
    """What a worker wants of all; the strongest is done."""

    NOTHING = 0
    CHECKPOINT = 1
    STOP = 2  # with a checkpoint


class Agreement:
    """Workers ask one another each step, without waiting: the answer is that of the step before."""

    def __init__(self) -> None:
        # On the CPU, whatever training communicates through, so that no device is waited for.
        self._group = dist.new_group(backend="gloo") if collective.world_size() > 1 else None
        self._asked: tuple[torch.Tensor, Any] | None = None

    def __call__(self, wish: Wish) -> Wish:
        """The strongest wish of any worker's call before this one; the same on all. Every worker calls it."""
        if self._group is None:
            return wish
        agreed = self.close()
        flag = torch.tensor([int(wish)])
        self._asked = flag, dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        return agreed

    def close(self) -> Wish:
        """Wait for the answer that is still under way."""
        if self._asked is None:
            return Wish.NOTHING
        flag, work = self._asked
        work.wait()
        self._asked = None
        return Wish(int(flag.item()))
