"""Progress of many workers on one terminal: workers tell a board, the driver draws it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import ray
from ray.actor import ActorHandle
from tqdm import tqdm

from cluster.placement import on_node
from datasets.storage.progress import progress_bar
from datasets.terminal import styled

__all__ = ["Reporter", "shown_progress"]

_REFRESH_SECONDS = 0.5


class StageProgress(NamedTuple):
    """Steps `done` of the `total` of a stage, and a note for the end of the bar."""

    done: int
    total: int
    note: str


@ray.remote(num_cpus=0)
class _Board:
    def __init__(self) -> None:
        self._stages: dict[str, StageProgress] = {}
        self._fatal: str | None = None
        self._warnings: list[str] = []
        self._stop = False
        self._starts = 0
        self._failures: dict[tuple[str, str, int], int] = {}  # to the start on which each first came

    def tell(self, stage: str, state: StageProgress) -> bool:
        """Returns whether training is to stop."""
        self._stages[stage] = state
        return self._stop

    def stop(self) -> None:
        self._stop = True

    def warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)

    def warnings(self) -> list[str]:
        return self._warnings

    def stages(self) -> dict[str, StageProgress]:
        """The latest of every stage, in the order they began."""
        return self._stages

    def end(self, reason: str) -> None:
        self._fatal = self._fatal or reason

    def failed(self, reason: str, stage: str, step: int) -> bool:
        """Note a worker's error; whether the same one has come before at the same step, on an earlier start."""
        start, again = self._starts, (reason, stage, step)
        before = self._failures.setdefault(again, start)
        return before < start

    def started(self) -> None:
        self._starts += 1

    def fatal(self) -> str | None:
        return self._fatal


class Reporter:
    """A worker's end of the board; cheap to call every step."""

    def __init__(self, board: ActorHandle) -> None:
        self._board, self._told, self._stage, self._note = board, 0.0, "", ""
        self._answer: ray.ObjectRef[bool] | None = None
        self._stop = False
        self._step = 0

    def __call__(self, stage: str, done: int, total: int, note: str | None = None) -> None:
        """`done` of `total` steps of a stage; a note stays until the next."""
        now, self._step = time.monotonic(), done
        self._note = "" if stage != self._stage else self._note if note is None else note
        if stage != self._stage or done >= total or now - self._told > _REFRESH_SECONDS:
            self._told, self._stage = now, stage
            self.stop_wanted()  # the answer to the last one, which the next replaces
            self._answer = self._board.tell.remote(stage, StageProgress(done, total, self._note))

    def stop_wanted(self) -> bool:
        """Whether the board has answered a report with a wish to stop; does not wait for an answer."""
        if not self._stop and self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            self._stop = bool(ray.get(self._answer))
        return self._stop

    def stop(self) -> None:
        """Ask training to stop at the next step, with a checkpoint."""
        ray.get(self._board.stop.remote())

    def warn(self, text: str) -> None:
        """Show a line on the driver's terminal, once."""
        self._board.warn.remote(text)

    def end(self, reason: str) -> None:
        """Say that the job must end: starting the workers again would not help."""
        ray.get(self._board.end.remote(reason))

    def started(self) -> None:
        """Say that all workers start, the first time or again."""
        ray.get(self._board.started.remote())

    def comes_again(self, reason: str) -> bool:
        """Whether this error has come at this step on an earlier start: starting again would not help."""
        return bool(ray.get(self._board.failed.remote(reason, self._stage, self._step)))

    def fatal(self) -> str | None:
        """The first reason given to `end`."""
        reason: str | None = ray.get(self._board.fatal.remote())
        return reason


@contextmanager
def shown_progress(on_stage: Callable[[str], None], unit: str) -> Iterator[Reporter]:
    """Draw a bar a stage with what workers tell the yielded reporter (which they get as an argument)."""
    # Where the driver is: what is lost with another node must not be what tells of it.
    board = _Board.options(scheduling_strategy=on_node()).remote()  # type: ignore[attr-defined]
    ended = threading.Event()
    drawing = threading.Thread(target=_draw, args=(board, ended, on_stage, unit), daemon=True)
    drawing.start()
    try:
        yield Reporter(board)
    finally:
        ended.set()
        drawing.join(10)
        ray.kill(board)


def _draw(board: ActorHandle, ended: threading.Event, on_stage: Callable[[str], None], unit: str) -> None:
    bars: dict[str, tqdm[object]] = {}
    last, warned = False, 0
    while not last:
        last = ended.wait(_REFRESH_SECONDS)
        try:
            stages, warnings = ray.get([board.stages.remote(), board.warnings.remote()], timeout=5)
        except ray.exceptions.RayError:
            continue
        for text in warnings[warned:]:
            tqdm.write(f"{styled('dmgan: warning:', 'warning', sys.stderr)} {text}", file=sys.stderr)
        warned = len(warnings)
        for stage, state in stages.items():
            if stage not in bars:
                on_stage(stage)
                # From where a resumed run goes on; the rate is of what is done now.
                bars[stage] = progress_bar(desc=stage, unit=unit, total=state.total, initial=state.done)
            bar = bars[stage]
            if not bar.disable:  # closed: the stage is over
                bar.set_postfix_str(state.note, refresh=False)
                bar.update(state.done - bar.n)
                if last or stage != list(stages)[-1]:
                    bar.close()
