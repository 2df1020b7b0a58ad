"""A node that is about to go (a spot instance's notice, a drain) asks the training on it for a checkpoint.

`cluster.drain` and the workers are processes of one machine or pod, which share its temporary folder.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

__all__ = ["Evictions", "announce_eviction"]


def _notice() -> Path:
    return Path(tempfile.gettempdir()) / "dmgan-eviction"


def announce_eviction() -> None:
    """Ask every training on this machine for a checkpoint."""
    _notice().touch()


class Evictions:
    """A worker's look at the notices of its machine: cheap to ask every step."""

    def __init__(self) -> None:
        self._seen = self._last() or time.time_ns()  # one of before this worker is another's

    def __call__(self) -> bool:
        """Whether there is a new notice; once for each."""
        last = self._last()
        if last is None or last <= self._seen:
            return False
        self._seen = last
        return True

    def _last(self) -> int | None:
        try:
            return _notice().stat().st_mtime_ns
        except OSError:
            return None
