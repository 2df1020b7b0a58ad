"""RUN/driver.log: what the driver printed, with the time of each line, of all starts of the run."""

from __future__ import annotations

import shlex
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from datasets import storage
from datasets.errors import UserError
from datasets.storage.lease import LeaseError, LeaseToken
from datasets.terminal import plain
from dmgan import __version__
from dmgan.runs.folder import RunFolder

__all__ = ["DRIVER_LOG", "DriverLog", "recorded"]

DRIVER_LOG = "driver.log"
_MOST = 1 << 20  # characters that are kept, the newest
_SECONDS = {True: 1.0, False: 30.0}  # between writes to a folder, to a bucket


class DriverLog:
    """Takes what is printed; nothing is written before `begin`. Written whole: object stores cannot append."""

    def __init__(self, run: RunFolder, lease: LeaseToken | None = None) -> None:
        self._run, self._lease = run, lease
        self._lines: list[str] = []
        self._length, self._partial = 0, {"out": "", "err": ""}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._changed = self._begun = False
        self._thread = threading.Thread(target=self._write_now_and_then, daemon=True, name="driver.log")

    def begin(self) -> None:
        """Write what came so far behind what earlier starts left, and go on writing."""
        before = storage.read_bytes(self._path()).decode(errors="replace") if self._run.has(DRIVER_LOG) else ""
        with self._lock:
            self._lines[:0] = before.splitlines(keepends=True)
            self._length = sum(map(len, self._lines))
            self._cut()
        self._begun = True
        self._thread.start()

    def feed(self, name: str, text: str) -> None:
        """Take text of the stream `name`; of what is drawn over and over in a line, as bars are, the last stays."""
        with self._lock:
            *whole, rest = (self._partial[name] + text).split("\n")
            self._partial[name] = rest.rpartition("\r")[2] if not rest.endswith("\r") else rest
            for line in whole:
                self._append(plain(line.rstrip("\r").rpartition("\r")[2]))

    def line(self, text: str) -> None:
        with self._lock:
            self._append(text)

    def end(self) -> None:
        """Write the rest. A run that another driver has taken over is left alone."""
        self._ended.set()
        if self._begun:
            self._thread.join()
            self._save()

    def _append(self, line: str) -> None:
        if line.strip():
            self._lines.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            self._length += len(self._lines[-1])
            self._changed = True
            self._cut()

    def _cut(self) -> None:
        dropped = 0
        while self._length > _MOST and dropped < len(self._lines) - 1:
            self._length -= len(self._lines[dropped])
            dropped += 1
        del self._lines[:dropped]

    def _write_now_and_then(self) -> None:
        while not self._ended.wait(_SECONDS[storage.is_local(self._run.url)]):
            self._save()

    def _save(self) -> None:
        with self._lock:
            text, changed = "".join(self._lines), self._changed
            self._changed = False
        if not changed:
            return
        try:
            if self._lease is not None:
                self._lease.check()
            storage.write_bytes(self._path(), text.encode())
        except LeaseError:
            return
        except storage.StorageError:  # a log is not worth a run; what is missing comes with the next write
            self._changed = True

    def _path(self) -> str:
        return self._run.path(DRIVER_LOG)


class _Tee:
    """A stream whose text a log gets too."""

    def __init__(self, stream: TextIO, log: DriverLog, name: str) -> None:
        self._stream, self._log, self._name = stream, log, name

    def write(self, text: str) -> int:
        self._log.feed(self._name, text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def recorded(run: RunFolder, lease: LeaseToken | None = None) -> Iterator[DriverLog]:
    """What this process prints meanwhile, and the error that ends it, go to the yielded log too, after its `begin`."""
    log, before = DriverLog(run, lease), (sys.stdout, sys.stderr)
    log.line(f"--- dmgan {__version__}: {shlex.join(sys.argv)}")
    sys.stdout, sys.stderr = _Tee(before[0], log, "out"), _Tee(before[1], log, "err")
    try:
        yield log
        log.line("--- done")
    except UserError as error:
        log.line(f"dmgan: {error}")
        raise
    except BaseException as error:
        for line in "".join(traceback.format_exception(error)).splitlines():
            log.line(line)
        raise
    finally:
        sys.stdout, sys.stderr = before
        log.end()
