"""Pools of processes that start clean and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext
from typing import Any

__all__ = ["context", "process_pool"]


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
