"""Processes that start clean and end with their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext
from typing import Any

__all__ = ["context", "own_session", "process_pool"]

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def context() -> SpawnContext:
    """Spawned, not forked: a fork would copy locks that threads hold."""
    return multiprocessing.get_context("spawn")


def process_pool(processes: int, initializer: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """A pool whose processes each call `initializer(*arguments)` first."""
    return ProcessPoolExecutor(processes, context(), initializer=_start, initargs=(initializer, arguments))


def _start(initializer: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)  # a killed parent does not end its pool: the processes would wait for work for ever

    threading.Thread(target=end_with_parent, daemon=True).start()
    initializer(*arguments)


def own_session(end_with: signal.Signals) -> dict[str, Any]:
    """Arguments of `subprocess.Popen` for a child that no signal to this process's group reaches.

    Linux sends it `end_with` when this process ends, however that is; it must be started by a thread that lives as long
    as this process.
    """
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # looked up before the fork

    def before_exec() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, end_with)

    return {"start_new_session": True, "preexec_fn": before_exec}
