"""Who packs: this process, a pool of processes of this machine, or the tasks of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from datasets.errors import UserError, short_reason
from datasets.ray_address import problem_of
from datasets.storage.processes import process_pool

__all__ = ["Workers", "WorkersError", "workers"]

T = TypeVar("T")


class WorkersError(UserError):
    """Ray is not there to pack with; one line."""


class Workers:
    """Calls functions, several at once."""

    def __init__(self, count: int, submit: Callable[..., Future[Any]]) -> None:
        self._count, self._submit = count, submit

    def results(self, calls: Iterable[tuple[Callable[..., T], tuple[Any, ...]]]) -> Iterator[T]:
        """What the calls return, as they end. Few wait at a time, so that memory stays bounded."""
        waiting, running = iter(calls), set[Future[T]]()
        while True:
            while len(running) < 2 * self._count and (call := next(waiting, None)) is not None:
                function, arguments = call
                running.add(self._submit(function, *arguments))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()


@contextmanager
def workers(processes: int, tasks: int = 0) -> Iterator[Workers]:
    """So many `processes` of this machine (0: one a core), or `tasks` at a time of the Ray cluster of RAY_ADDRESS.

    Without RAY_ADDRESS it is a Ray of this machine. Raises WorkersError.
    """
    if tasks:
        with _ray(tasks) as submit:
            yield Workers(tasks, submit)
    elif (count := processes or len(os.sched_getaffinity(0))) == 1:
        yield Workers(1, _here)
    else:
        with process_pool(count, _nothing) as pool:
            try:
                yield Workers(count, pool.submit)
            finally:
                pool.shutdown(cancel_futures=True)


def _here(function: Callable[..., T], *arguments: Any) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(function(*arguments))
    except Exception as error:  # raised again where the result is asked for
        future.set_exception(error)
    return future


@contextmanager
def _ray(tasks: int) -> Iterator[Callable[..., Future[Any]]]:
    try:
        import ray
    except ImportError:
        raise WorkersError(f"--workers {tasks}: Ray is not installed") from None
    address = os.environ.get("RAY_ADDRESS", "")
    own = not ray.is_initialized()
    if own and (problem := problem_of(address)) is not None:
        raise WorkersError(f"RAY_ADDRESS={address}: {problem}")
    if own:
        try:
            ray.init(logging_level="ERROR", log_to_driver=False)
        except Exception as error:  # of a Ray that does not start or is not there: it raises many kinds
            said = short_reason(error, 200)
            raise WorkersError(f"--workers {tasks}: no Ray cluster answers: {said}") from error
    task = ray.remote(num_cpus=1)(_call)

    def submit(function: Callable[..., T], *arguments: Any) -> Future[T]:
        future: Future[T] = task.remote(function, *arguments).future()
        return future

    try:
        yield submit
    finally:
        if own:
            ray.shutdown()


def _call(function: Callable[..., T], *arguments: Any) -> T:
    return function(*arguments)


def _nothing() -> None:
    """A process of the pool needs no preparation."""
