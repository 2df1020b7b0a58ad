"""Two processes with one process group that carry out one function after the other: to start them takes longest."""

from __future__ import annotations

import os
import queue
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

__all__ = ["Team", "team_of"]

SECONDS = 900


class Team:
    """`team(function, …)` calls function(rank, …) on every worker and raises AssertionError where one failed."""

    def __init__(self, workers: int, folder: Path) -> None:
        self.workers, self._folder = workers, folder
        self._starts = 0
        self._processes: list[Any] = []

    def _start(self) -> None:
        context, self._starts = mp.get_context("spawn"), self._starts + 1
        self._tasks = [context.Queue() for _ in range(self.workers)]
        self._done = context.Queue()
        rendezvous = self._folder / f"rendezvous-{self._starts}"
        self._processes = [
            context.Process(target=_work, args=(rank, self.workers, rendezvous, self._tasks[rank], self._done))
            for rank in range(self.workers)
        ]
        for process in self._processes:
            process.start()

    def __call__(self, function: Callable[..., None], *arguments: Any) -> None:
        if not self._processes:
            self._start()
        for tasks in self._tasks:
            tasks.put((function, arguments))
        for _ in self._processes:
            try:
                failure = self._done.get(timeout=SECONDS)
            except queue.Empty:
                failure = f"no answer within {SECONDS} s"
            if failure:
                self.end()  # the others may wait for this one; the next function gets new workers
                raise AssertionError(failure)

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        self._processes = []


def _work(rank: int, workers: int, rendezvous: Path, tasks: Any, done: Any) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(workers)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=workers)
    from cluster.worker import engines

    engines.initialise(torch.device("cpu"))
    while True:
        function, arguments = tasks.get()
        try:
            function(rank, *arguments)
            done.put(None)
        except BaseException:
            done.put(f"worker {rank}: {traceback.format_exc()}")


@contextmanager
def team_of(workers: int, folder: Path) -> Iterator[Team]:
    team = Team(workers, folder)
    try:
        yield team
    finally:
        team.end()
