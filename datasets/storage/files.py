"""Files in a folder or a bucket, by one URL: a plain path or s3://bucket/path.

Endpoint and credentials of s3:// come from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …) as for any AWS
tool; they are never part of a URL here. Every failure to reach storage is a `StorageError` of one line.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from datasets.storage.bucket import READ_SECONDS, ask_for_list, error_code, fetch, filesystem, reason_of, s3_endpoint
from datasets.storage.urls import MissingError, StorageError, absolute, is_local, join, without_credentials

__all__ = [
    "MissingError",
    "Retry",
    "StorageError",
    "absolute",
    "check_reachable",
    "exists",
    "filesystem",
    "is_local",
    "join",
    "list_folders",
    "list_sizes",
    "make_folder",
    "one_line",
    "read_bytes",
    "read_range",
    "remove",
    "remove_folder",
    "remove_partial",
    "s3_endpoint",
    "upload_folder",
    "write_bytes",
]

_ATTEMPTS = 4  # of what is no read of a range
_NO_USE_TO_REPEAT = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "ParamValidationError")
_REFUSALS = ("Bad Request", "Forbidden", "Access Denied")  # an answer to HEAD, which says no more
_T = TypeVar("_T")
_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Retry:
    """How long to insist on reading: attempts that bring nothing, seconds between them and for one answer."""

    attempts: int = 8
    first_wait: float = 0.2
    longest_wait: float = 20.0
    timeout: float = float(READ_SECONDS)

    def wait(self, failures: int) -> None:
        """Sleep after the given number of failures in a row: doubled each time, and spread so that workers part."""
        longest = min(self.longest_wait, self.first_wait * 2 ** (failures - 1))
        time.sleep(longest * random.uniform(0.5, 1.0))


@contextmanager
def one_line(url: str) -> Iterator[None]:
    """Turn whatever fails within into a StorageError that names `url`."""
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise MissingError(f"{url}: not found") from error
    except Exception as error:  # botocore raises a class of its own for every failure
        endpoint = None if is_local(url) else s3_endpoint()
        where = f" at {without_credentials(endpoint)}" if endpoint else ""
        said = str(error).splitlines()[0] if str(error) else "no answer in time" if _timed_out(error) else "no reason"
        reason = without_credentials(said)
        raise StorageError(f"{url}: cannot be reached{where}: {type(error).__name__}: {reason}") from None


def _timed_out(error: Exception) -> bool:
    return isinstance(error, TimeoutError | asyncio.TimeoutError)


def _insistently(url: str, action: Callable[[], _T]) -> _T:
    """What `action` gives, tried again where a bucket fails in passing. Raises StorageError of one line."""
    with one_line(url):
        for failures in count(1):
            try:
                return action()
            except (FileNotFoundError, PermissionError):
                raise
            except Exception as error:
                if is_local(url) or failures == _ATTEMPTS or type(error).__name__ in _NO_USE_TO_REPEAT:
                    raise
                Retry().wait(failures)
        raise AssertionError


def exists(url: str) -> bool:
    fs, path = filesystem(url)

    def ask() -> bool:
        try:
            return bool(fs.exists(path))
        except Exception as error:
            if is_local(url) or not any(said in str(error) for said in _REFUSALS):
                raise
            raise reason_of(fs, path, error) from None

    return _insistently(url, ask)


def list_sizes(url: str) -> dict[str, int]:
    """The files directly in a folder or under a prefix, with their sizes in bytes; empty if there is none."""
    return {_last(info["name"]): int(info["size"]) for info in _list(url) if info["type"] == "file"}


def list_folders(url: str) -> list[str]:
    """The names of the folders directly in a folder or under a prefix; empty if there is none."""
    return sorted(_last(info["name"]) for info in _list(url) if info["type"] == "directory")


def _list(url: str) -> list[dict[str, Any]]:
    fs, path = filesystem(url)
    try:
        return _insistently(url, lambda: list(fs.ls(path, detail=True)))
    except MissingError:
        return []


def _last(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]


def read_bytes(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes [start, end) of a file, or all of it."""
    fs, path = filesystem(url)
    if is_local(url) and Path(path).exists() and not Path(path).is_file():  # a pipe or a device would be waited for
        raise StorageError(f"{url}: not a file")
    return _insistently(url, lambda: bytes(fs.cat_file(path, start=start, end=end)))


def read_range(url: str, start: int, end: int, retry: Retry | None = None) -> bytes:
    """The bytes [start, end) of a file, which has them all.

    What fails on the way is tried again with growing waits, from the byte where it stopped. Raises MissingError where
    there is no such file, StorageError when `retry.attempts` in a row brought nothing or the file is too short.
    """
    if is_local(url):
        content = read_bytes(url, start, end)
        if len(content) < end - start:
            raise StorageError(f"{url}: is shorter than the {end} bytes expected")
        return content
    retry = retry or Retry()
    fs, path = filesystem(url)
    received = bytearray()
    failures = 0
    while True:
        before = len(received)
        try:
            fsspec.asyn.sync(fs.loop, fetch, fs, path, start, end, received, retry.timeout)
            if len(received) == end - start:
                return bytes(received)
            raise EOFError("the answer ended early")
        except FileNotFoundError as error:
            raise MissingError(f"{url}: not found") from error
        except StorageError:
            raise
        except Exception as error:
            if error_code(error) in ("InvalidRange", "416"):
                raise StorageError(f"{url}: is shorter than the {end} bytes expected") from error
            failures = 1 if len(received) > before else failures + 1
            if failures >= retry.attempts or isinstance(error, PermissionError):
                with one_line(url):
                    raise
            retry.wait(failures)


def write_bytes(url: str, content: bytes) -> None:
    """Write a file whole or not at all."""
    fs, path = filesystem(url)
    if not is_local(url):
        _insistently(url, lambda: fs.pipe_file(path, content))
        return
    with one_line(url):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=Path(path).parent, prefix=_PARTIAL)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def remove(url: str) -> None:
    """Remove a file if it is there."""
    fs, path = filesystem(url)

    def remove_it() -> None:
        if fs.exists(path):
            fs.rm_file(path)

    _insistently(url, remove_it)


def remove_partial(url: str) -> None:
    """Remove what killed processes left of files they wrote into a folder; buckets have no such files."""
    if is_local(url):
        for path in Path(url).glob(f"{_PARTIAL}*"):
            path.unlink(missing_ok=True)


def remove_folder(url: str) -> None:
    """Remove a folder, or all under a prefix, if it is there."""
    fs, path = filesystem(url)

    def remove_it() -> None:
        if fs.exists(path):
            fs.rm(path, recursive=True)

    _insistently(url, remove_it)


def make_folder(url: str) -> None:
    """Make the folder, or the bucket, if it is not there."""
    fs, path = filesystem(url)
    with one_line(url):
        if is_local(url):
            Path(path).mkdir(parents=True, exist_ok=True)
        elif not fs.exists(path.split("/", 1)[0]):
            fs.mkdir(path.split("/", 1)[0])


def upload_folder(source: Path, url: str, last: str) -> None:
    """Copy every file of `source` to `url`; the file named `last`, which announces the others, goes last."""
    make_folder(url)
    fs, root = filesystem(url)
    files = sorted((p for p in source.rglob("*") if p.is_file()), key=lambda p: (p.name == last, p))
    with one_line(url):
        for file in files:
            fs.put_file(str(file), f"{root}/{file.relative_to(source)}")


def check_reachable(url: str) -> None:
    """Raise StorageError if what is below `url` cannot be listed or the folder cannot be made."""
    fs, path = filesystem(url)
    with one_line(url):
        if is_local(url):
            Path(path).mkdir(parents=True, exist_ok=True)
            if not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "not writable for this user")
        else:
            ask_for_list(fs, f"{path.rstrip('/')}/")
