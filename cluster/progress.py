"""Progress of many workers on one terminal: workers tell a board, the driver draws it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from tqdm import tqdm

__all__ = ["Reporter", "shown_progress"]

_REFRESH_SECONDS = 0.5


@ray.remote(num_cpus=0)
class _Board:
    def __init__(self) -> None:
        self._latest: dict[str, Any] = {"done": 0, "total": 0, "note": ""}

    def tell(self, latest: dict[str, Any]) -> None:
        self._latest = latest

    def latest(self) -> dict[str, Any]:
        return self._latest


class Reporter:
    """A worker's end of the board; cheap to call every step."""

    def __init__(self, board: Any) -> None:
        self._board, self._told = board, 0.0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if done >= total or now - self._told > _REFRESH_SECONDS:
            self._told = now
            self._board.tell.remote({"done": done, "total": total, "note": note})


@contextmanager
def shown_progress(title: str, unit: str) -> Iterator[Reporter]:
    """Draw a bar with what workers tell the yielded reporter (which they get as an argument)."""
    board = _Board.remote()  # type: ignore[attr-defined]
    ended = threading.Event()
    bar = tqdm(desc=title, unit=unit, total=0, dynamic_ncols=True, mininterval=_REFRESH_SECONDS)

    def draw() -> None:
        last = False
        while not last:
            last = ended.wait(_REFRESH_SECONDS)
            try:
                latest = ray.get(board.latest.remote(), timeout=5)
            except ray.exceptions.RayError:
                continue
            if latest["total"]:
                if not bar.total:  # where a resumed run goes on from
                    bar.initial = bar.n = latest["done"]
                bar.total = latest["total"]
                bar.set_postfix_str(latest["note"], refresh=False)
                bar.update(latest["done"] - bar.n)
                bar.refresh()

    drawing = threading.Thread(target=draw, daemon=True)
    drawing.start()
    try:
        yield Reporter(board)
    finally:
        ended.set()
        drawing.join(10)
        bar.close()
        ray.kill(board)
