"""A run's report while it trains: written anew after checkpoints, by the driver, which has nothing else to do then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datasets import storage
from datasets.errors import short_reason
from datasets.terminal import warn
from dmgan.runs.folder import LIVE_REPORT, RunFolder

__all__ = ["refreshed"]

_LOOK_SECONDS = 2.0
_FIRST_SECONDS = 20.0  # before the first page, which takes a second or two
_SHARE = 0.05  # of the time that may go into it


@contextmanager
def refreshed(
    run: RunFolder,
    write: Callable[[], object],
    look_seconds: float = _LOOK_SECONDS,
    first_seconds: float = _FIRST_SECONDS,
) -> Iterator[None]:
    """Call `write` meanwhile, in a thread, when a checkpoint has another generator, in a twentieth of the time at most.

    The file LIVE_REPORT says that the report is not the last one. A report that cannot be written costs a warning.
    """
    ended, before = threading.Event(), run.trained_steps()
    arguments = (run, write, look_seconds, time.monotonic() + first_seconds, before, ended)
    thread = threading.Thread(target=_refresh, args=arguments, daemon=True, name="report")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _refresh(
    run: RunFolder, write: Callable[[], object], look_seconds: float, due: float, shown: int, ended: threading.Event
) -> None:
    while not ended.wait(look_seconds):
        try:
            record = run.read_generator_record()
            if record is None or record.step in (shown, record.steps) or time.monotonic() < due:
                continue  # the last one is the job's own, with scores
            began = time.monotonic()
            storage.write_bytes(run.path(LIVE_REPORT), b"")
            write()
            shown, due = record.step, time.monotonic() + (time.monotonic() - began) / _SHARE
        except Exception as error:  # a page is not worth a run
            warn(f"report.html is not refreshed any more: {short_reason(error)}")
            return
