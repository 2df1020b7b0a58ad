"""A node that is about to go (a spot instance's notice, a drain) asks the training on it for a checkpoint.

`cluster.drain` and the workers are processes of one machine or pod, which share its temporary folder.
"""

from __future__ import annotations

import tempfile
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
        self._seen = self._last()  # one of before this worker is another's

    def __call__(self) -> bool:
        """Whether there is a new notice; once for each."""
        before, self._seen = self._seen, self._last()
        return self._seen > before

    def _last(self) -> int:
        """When the last notice was given, nanoseconds since 1970; 0: never."""
        try:
            return _notice().stat().st_mtime_ns
        except OSError:
            return 0
