"""Watching the processes of a Ray cluster of our own: where one of them is lost, Ray ends the driver without a word."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import Popen

import psutil

__all__ = ["watched"]

_LOOK_SECONDS = 0.05  # sooner than Ray's own look, which ends this process
_NEEDED = {"raylet": "raylet", "gcs_server": "GCS"}


@contextmanager
def watched(then: str = "the same command goes on from the last checkpoint") -> Iterator[None]:
    """End this process in one line, with exit code 1 and with all that it started, when Ray's raylet or GCS ends.

    `then` is what the line says of it.
    """
    import ray

    node = ray._private.worker._global_node
    processes: dict[str, Popen[bytes]] = {
        name: found[0].process for kind, name in _NEEDED.items() if (found := node.all_processes.get(kind))
    }
    sessions = {one.process.pid for kind in node.all_processes.values() for one in kind}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            for name, process in processes.items():
                if process.poll() is not None and not over.is_set():
                    _end(name, process.returncode, sessions, then)

    threading.Thread(target=watch, daemon=True, name="watch").start()
    try:
        yield
    finally:
        over.set()


def _end(name: str, code: int, sessions: set[int], then: str) -> None:
    """`sessions` are those of Ray's processes: what a lost raylet had started is in its session, and nobody's child."""
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    line = f"dmgan: Ray's {name} {how}; {then}\n"
    os.write(sys.stderr.fileno(), line.encode())
    # Nothing that Ray writes about it from here on is for people.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    mine = {child.pid for child in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) in sessions:
                process.kill()
            elif process.pid in mine:
                process.terminate()
    os._exit(1)
