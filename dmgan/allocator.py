"""Memory of the CPU for networks whose tensors come and go by the same sizes, step after step.

glibc gives a large tensor's memory back to the system when it is freed, and gets it anew, page by page, for the next
one. Where it keeps it instead, a process is faster and takes more memory: docs/speed.md has both.
"""

from __future__ import annotations

import ctypes
import os
import platform

__all__ = ["keep_freed_memory", "keeping_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_NEVER, _LARGEST = -1, 2**31 - 1
_SETTINGS = ("MALLOC_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let this process keep what tensors on the CPU free, for those that follow in its main thread. Whether it does.

    Nothing is changed where another C library than glibc is, or where the environment has settings of its own:
    MALLOC_TRIM_THRESHOLD_=131072 leaves glibc as it is.
    """
    if platform.libc_ver()[0] != "glibc" or _is_chosen():
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_THRESHOLD, _LARGEST) and library.mallopt(_TRIM_THRESHOLD, _NEVER))


def keeping_freed_memory() -> dict[str, str]:
    """The environment of processes that are to do so in all of their threads, where none has been chosen.

    Ray Train and Ray Serve compute in threads, whose own part of glibc's memory, an arena, cannot keep large tensors'.
    """
    if _is_chosen():
        return {}
    never = str(2**62)
    return {"MALLOC_MMAP_THRESHOLD_": str(_LARGEST), "MALLOC_TRIM_THRESHOLD_": never, "MALLOC_ARENA_MAX": "1"}


def _is_chosen() -> bool:
    return any(name.startswith(_SETTINGS) for name in os.environ)
