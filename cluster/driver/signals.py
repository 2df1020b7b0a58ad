"""Signals to the driver: training ends with a checkpoint."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

from cluster.worker.control import Reporter
from datasets.errors import UserError

__all__ = ["StoppedError", "run_interruptibly"]


class StoppedError(UserError):
    """A signal ended training."""

    def __init__(self, number: int, with_checkpoint: bool) -> None:
        self.signal = signal.Signals(number)
        self.exit_code = 128 + number
        what = "with a checkpoint" if with_checkpoint else "before a checkpoint was written"
        super().__init__(f"stopped by {self.signal.name}, {what}; the same command goes on from the last checkpoint")


def run_interruptibly(fit: Callable[[], object], report: Reporter, grace_seconds: float) -> None:
    """`fit()`, which a signal to stop ends with a checkpoint, if it is written within the grace.

    SIGHUP says that who started this process is gone. A second Ctrl-C ends it at once; any other second signal says
    nothing new.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are another's, such as Tune's
        fit()
        return
    failures: list[BaseException] = []

    def run() -> None:
        try:
            fit()
        except BaseException as error:
            failures.append(error)

    signals: list[int] = []

    def stop(number: int, frame: object) -> None:
        if number == signal.SIGINT or not signals:
            signals.append(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # nohup
        del before[signal.SIGHUP]
    thread = threading.Thread(target=run, daemon=True)
    try:
        for number in before:
            signal.signal(number, stop)
        thread.start()
        deadline = float("inf")
        while thread.is_alive():
            thread.join(0.1)
            if signals and deadline == float("inf"):
                deadline = time.monotonic() + grace_seconds
                report.stop()
            if time.monotonic() > deadline or len(signals) > 1:  # asked twice: at once
                raise StoppedError(signals[0], with_checkpoint=False)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if signals:  # this process is ending; that who started it has gone meanwhile must not cut that short
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if failures:
        raise failures[0]
    if signals:
        raise StoppedError(signals[0], with_checkpoint=True)
