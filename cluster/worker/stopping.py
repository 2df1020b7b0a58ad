"""All workers stop at the same step when one of them wants to."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from dmgan.model import collective

__all__ = ["Agreement"]


class Agreement:
    """Workers ask one another each step, without waiting: the answer is that of the step before."""

    def __init__(self) -> None:
        # On the CPU, whatever training communicates through, so that no device is waited for.
        self._group = dist.new_group(backend="gloo") if collective.world_size() > 1 else None
        self._asked: tuple[torch.Tensor, Any] | None = None

    def __call__(self, wanted: bool) -> bool:
        """Whether any worker said `wanted` at its call before this one; the same on all. Every worker calls it."""
        if self._group is None:
            return wanted
        agreed = self.close()
        flag = torch.tensor([float(wanted)])
        self._asked = flag, dist.all_reduce(flag, group=self._group, async_op=True)
        return agreed

    def close(self) -> bool:
        """Wait for the answer that is still under way."""
        if self._asked is None:
            return False
        flag, work = self._asked
        work.wait()
        self._asked = None
        return bool(flag.item())
