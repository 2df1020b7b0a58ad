"""A lease on a run: one process at a time writes it, in a folder that hosts share as in a bucket.

The holder renews it while it lives. Another one is refused while it sees renewals, and takes over when the holder is
known to be gone (a process of the same machine that has ended) or has not renewed for as long as the lease says. No
clocks of two machines are compared: whoever waits watches the file.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from datasets.errors import UserError
from datasets.storage.conditional import read_version, write_if
from datasets.storage.files import remove
from datasets.storage.urls import StorageError, is_local

__all__ = ["LeaseError", "LeaseToken", "holder_of", "leased"]

_RENEWALS = 3  # in the time of a lease
_LOOK_SECONDS = 0.5
_SETTLE_SHARE = 1 / 15  # of a lease, for writes to a bucket that others began meanwhile to arrive


class LeaseError(UserError):
    """Another process holds the run, or has taken it over; one line that says who and since when."""


class _Lease(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    holder: str  # for people
    machine: str  # whose processes these are
    pid: int
    started: float  # of the process, seconds since 1970 on its machine
    since: float  # the lease, likewise
    renewed: float  # likewise
    renewals: int = 0
    seconds: float  # without a renewal until it is over

    def held_by(self) -> str:
        return f"{self.holder} since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.since))}"

    @property
    def is_of_this_machine(self) -> bool:
        return self.machine == _machine()

    def is_fresh(self) -> bool:
        """Whether it was just renewed, as this machine's clock has it."""
        return self.is_of_this_machine and 0 <= time.time() - self.renewed < 1.5 * self.seconds / _RENEWALS

    def has_ended(self) -> bool:
        """Whether the holder is known to be gone; of other machines that cannot be known."""
        if not self.is_of_this_machine:
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) > 1 or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False


@dataclass(frozen=True)
class LeaseToken:
    """What a worker on any node needs to ask whether its driver still holds the run."""

    url: str
    id: str

    def check(self) -> None:
        """Raises LeaseError where another process has the run now, StorageError where that cannot be told."""
        self.held()

    def held(self) -> tuple[_Lease, str]:
        """The lease as it is now, with its version. Raises as `check` does."""
        found = _read(self.url)
        if found is None or found[0].id != self.id:
            now = f" by {found[0].held_by()}" if found is not None else ""
            raise LeaseError(f"{self.url}: this run was taken over{now}; nothing more is written here")
        return found


def holder_of(url: str) -> str | None:
    """Who holds the lease of file `url`, and since when, as one look tells; None where nobody does.

    Of a process on another machine its last renewal decides, by its own clock. Raises StorageError.
    """
    found = _read(url)
    if found is None or found[0].has_ended():
        return None
    lease = found[0]
    alive = lease.is_of_this_machine or time.time() - lease.renewed < 2 * lease.seconds
    return lease.held_by() if alive and lease.id else None


@contextmanager
def leased(url: str, seconds: float, on_lost: Callable[[], None]) -> Iterator[LeaseToken]:
    """Hold the lease of file `url`, renewed meanwhile; `on_lost` is called by a thread where another has taken it over.

    Raises LeaseError where another holds it, at the start or at the end.
    """
    lease, version = _acquire(url, seconds)
    token, ended = LeaseToken(url, lease.id), threading.Event()
    lost: list[LeaseError] = []

    def renew() -> None:
        current, known = lease, version
        while not ended.wait(seconds / _RENEWALS):
            try:
                following = current.model_copy(update={"renewals": current.renewals + 1, "renewed": time.time()})
                _write(url, following, known)
                # A write may be refused and have been done (its answer was lost), or done and be undone by another.
                current, known = token.held()
            except LeaseError as error:
                lost.append(error)
                on_lost()
                return
            except StorageError:
                continue  # a bucket that is away; whoever takes over sees the same

    thread = threading.Thread(target=renew, daemon=True, name="lease")
    thread.start()
    try:
        yield token
    finally:
        ended.set()
        thread.join()
        if lost:
            raise lost[0]
        with suppress(StorageError, LeaseError):  # without the right to delete it runs out
            token.check()
            remove(url)


def _acquire(url: str, seconds: float) -> tuple[_Lease, str]:
    process = psutil.Process()
    mine = _Lease(
        id=uuid.uuid4().hex,
        holder=f"{_user()}@{socket.gethostname()}, process {process.pid},",
        machine=_machine(),
        pid=process.pid,
        started=process.create_time(),
        since=time.time(),
        renewed=time.time(),
        seconds=seconds,
    )
    first: tuple[_Lease, str] | None = None
    seen = time.monotonic()
    while True:
        found = _read(url)
        if first is None:
            first = found
        if found is not None and not found[0].has_ended():
            # It was renewed, or taken over by a third.
            if found[0].is_fresh() or (first is not None and found[1] != first[1]):
                raise LeaseError(
                    f"{_run(url)}: {found[0].held_by()} is at work on this run; wait for it or choose --name"
                )
            if time.monotonic() - seen < found[0].seconds:
                if time.monotonic() - seen < _LOOK_SECONDS and first is found:
                    print(f"      {_run(url)}: held by {found[0].held_by()}: looking whether it is alive", flush=True)
                time.sleep(_LOOK_SECONDS)
                continue
        if _write(url, mine, found[1] if found is not None else None):
            held = _settled(url, mine)
            if held is not None and held[0].id == mine.id:
                return held
        first, seen = None, time.monotonic()  # another was faster


def _settled(url: str, mine: _Lease) -> tuple[_Lease, str] | None:
    """The lease as it stands when writes that others began before this one have arrived."""
    if not is_local(url):
        # A server that accepts a condition which cannot hold knows none: then the last to write has it.
        conditions = not _write(url, mine, None)
        time.sleep(mine.seconds * _SETTLE_SHARE * (1 if conditions else 4))
    return _read(url)


def _read(url: str) -> tuple[_Lease, str] | None:
    found = read_version(url)
    if found is None:
        return None
    try:
        return _Lease.model_validate_json(found[0]), found[1]
    except ValidationError:  # damaged: nobody's
        return _Lease(id="", holder="nobody", machine="", pid=0, started=0, since=0, renewed=0, seconds=0), found[1]


def _write(url: str, lease: _Lease, version: str | None) -> bool:
    return write_if(url, lease.model_dump_json(indent=1).encode(), version)


def _run(url: str) -> str:
    return url.rpartition("/")[0]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return str(os.getuid())


def _machine() -> str:
    """The same for processes that see one another's numbers: of one boot and one container."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    try:
        return f"{boot.read_text(encoding='ascii').strip()} {space.readlink()}"
    except OSError:  # no Linux
        return f"{socket.gethostname()} {uuid.getnode()}"
