"""python -m cluster.drain head|worker: before a node of a Ray cluster goes, training ends with a checkpoint.

Kubernetes runs it in a pod that is to be deleted (preStop); it is about the processes that share its temporary folder,
which are those of the pod. On the head it asks the drivers there to stop, whose jobs then have failed, with exit code
143, and waits until KubeRay can have seen that. On a worker it asks for a checkpoint, which needs all workers and may
be the last before Ray Train starts all again without this one, and waits until training there has ended; where only
that worker goes nobody ends it. Both give up after two minutes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from cluster.worker.eviction import announce_eviction

__all__ = ["main"]

_SECONDS = 120.0
_SEEN_SECONDS = 15.0  # KubeRay asks for a job's state every 3 s


def _working(role: str) -> list[psutil.Process]:
    """What of this pod is to end: drivers on a head, training's workers on a worker."""

    def matches(line: list[str]) -> bool:
        if role == "head":
            return line[1:3] == ["-m", "dmgan.launch"]
        return bool(line) and line[0].startswith("ray::RayTrainWorker")

    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if matches(process.info["cmdline"] or []) and _shares_folder(process, role)
    ]


def _shares_folder(process: psutil.Process, role: str) -> bool:
    try:
        # A Ray worker's own environment is overwritten by its title.
        environment = (process.parent() or process if role == "worker" else process).environ()
    except psutil.Error:
        return False  # it ended, or is another user's
    return Path(environment.get("TMPDIR") or os.sep + "tmp").resolve() == Path(tempfile.gettempdir()).resolve()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cluster.drain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("role", choices=["head", "worker"])
    role = parser.parse_args(arguments).role
    working = _working(role)
    if role == "worker" and working:
        announce_eviction()
    for driver in working if role == "head" else []:
        with suppress(psutil.NoSuchProcess):
            driver.terminate()
    deadline = time.monotonic() + _SECONDS
    while _working(role):
        if time.monotonic() > deadline:
            return 1
        time.sleep(0.5)
    if role == "head" and working:
        time.sleep(_SEEN_SECONDS)
    return 0
