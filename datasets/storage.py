"""Files in a folder or a bucket, by one URL: a plain path or s3://bucket/path.

Endpoint and credentials of s3:// come from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …) as for any AWS
tool; they are never part of a URL here. Every failure to reach storage is a `StorageError` of one line.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

__all__ = [
    "StorageError",
    "absolute",
    "check_reachable",
    "exists",
    "filesystem",
    "is_local",
    "join",
    "one_line",
    "read_bytes",
    "remove",
    "upload_folder",
    "write_bytes",
]


class StorageError(Exception):
    """Storage could not be reached, read or written; the message is one line that names the URL."""


def is_local(url: str) -> bool:
    return "://" not in url


def join(url: str, *parts: str) -> str:
    """`url`/part/part, for folders and buckets alike."""
    return "/".join([url.rstrip("/") or "/", *parts]).replace("//", "/") if is_local(url) else _join_remote(url, parts)


def _join_remote(url: str, parts: tuple[str, ...]) -> str:
    return "/".join([url.rstrip("/"), *parts])


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The fsspec file system of `url` and the path on it."""
    scheme = url.split("://", 1)[0] if not is_local(url) else "file"
    if scheme not in ("file", "s3"):
        raise StorageError(f"{url}: unknown scheme {scheme!r}; expected a folder or s3://bucket/path")
    if scheme == "s3":
        # The endpoint is named so that fsspec's cache of file systems does not outlive a change of it.
        options: dict[str, Any] = {"config_kwargs": {"retries": {"max_attempts": 5}, "connect_timeout": 5}}
        options["endpoint_url"] = os.environ.get("AWS_ENDPOINT_URL")
        fs, path = fsspec.url_to_fs(url, **options)
        return fs, path
    return LocalFileSystem(auto_mkdir=True), str(Path(url).absolute())


@contextmanager
def one_line(url: str) -> Iterator[None]:
    """Turn whatever fails within into a StorageError that names `url`."""
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise StorageError(f"{url}: not found") from error
    except Exception as error:  # botocore raises a class of its own for every failure
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        where = f" at {endpoint}" if endpoint and not is_local(url) else ""
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StorageError(f"{url}: cannot be reached{where}: {type(error).__name__}: {reason}") from error


def exists(url: str) -> bool:
    fs, path = filesystem(url)
    with one_line(url):
        return bool(fs.exists(path))


def read_bytes(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes [start, end) of a file, or all of it."""
    fs, path = filesystem(url)
    with one_line(url):
        content = fs.cat_file(path, start=start, end=end)
    return bytes(content)


def write_bytes(url: str, content: bytes) -> None:
    """Write a file whole or not at all."""
    fs, path = filesystem(url)
    with one_line(url):
        if not is_local(url):
            fs.pipe_file(path, content)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=Path(path).parent, prefix=".partial-")
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
    with one_line(url):
        if fs.exists(path):
            fs.rm_file(path)


def absolute(url: str) -> str:
    """The URL as another process, with another working directory, understands it; one way to write each place."""
    return str(Path(url).resolve()) if is_local(url) else url


def upload_folder(source: Path, url: str, last: str) -> None:
    """Copy every file of `source` to `url`; the file named `last`, which announces the others, goes last."""
    fs, root = filesystem(url)
    files = sorted((p for p in source.rglob("*") if p.is_file()), key=lambda p: (p.name == last, p))
    with one_line(url):
        if not is_local(url):
            bucket = root.split("/", 1)[0]
            if not fs.exists(bucket):
                fs.mkdir(bucket)
        for file in files:
            fs.put_file(str(file), f"{root}/{file.relative_to(source)}")


def check_reachable(url: str) -> None:
    """Raise StorageError if the bucket of `url` cannot be listed or the folder cannot be made."""
    fs, path = filesystem(url)
    with one_line(url):
        if is_local(url):
            Path(path).mkdir(parents=True, exist_ok=True)
        else:
            fs.ls(path.split("/", 1)[0], refresh=True)
