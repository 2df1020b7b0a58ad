"""A source's folders and files, on this machine or in a bucket: their names, and their bytes in one sequential stream.

Failures to read are OSError here as on any machine; a bucket that does not answer is a StorageError of one line.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar, cast

from upath import UPath

from datasets import storage

__all__ = [
    "IMAGE_SUFFIXES",
    "Folder",
    "asked_of_each",
    "glance",
    "in_bucket",
    "is_image",
    "kind",
    "open_file",
    "place",
    "read_bytes",
    "stamp_of",
    "walk",
]

A = TypeVar("A")
B = TypeVar("B")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_GLANCE = 1000  # names, which are one answer of a bucket
_LOCAL_GLANCE = 50_000  # names, which take a fraction of a second
_AT_ONCE = 32  # requests to a bucket
_BLOCK = 8 << 20  # bytes a request of a file read from its beginning to its end


def place(url: str) -> Path:
    """A pathlib path for a folder or file, universal_pathlib's for s3://bucket/path, which has the same methods.

    Raises StorageError for an address of another kind.
    """
    absolute = storage.absolute(url)
    if storage.is_local(absolute):
        return Path(absolute)
    fs, _ = storage.filesystem(absolute)
    return cast(Path, UPath(absolute, **fs.storage_options))


def in_bucket(path: Path) -> UPath | None:
    """The path as one of a bucket; None where it is of this machine."""
    either: object = path  # for type checkers no path can be of both kinds
    return either if isinstance(either, UPath) else None


def is_image(name: str) -> bool:
    """Whether a file's name ends as images' do."""
    return name.casefold().endswith(IMAGE_SUFFIXES)


def kind(path: Path) -> Literal["file", "folder", "other", ""]:
    """What is there; nothing of a name that no file can have. Raises StorageError."""
    if bucket := in_bucket(path):
        try:
            with _asked(bucket):
                return "folder" if bucket.fs.info(bucket.path)["type"] == "directory" else "file"
        except FileNotFoundError:
            return ""
    try:
        if path.is_file():
            return "file"
        return "folder" if path.is_dir() else "other" if path.exists() else ""
    except (OSError, ValueError):
        return ""


def glance(folder: Path) -> tuple[list[str], list[str]]:
    """Names of files and of folders directly in a folder; none where there is no such folder.

    Of a folder of very many, some: as many as are seen at once. Raises OSError, StorageError.
    """
    if bucket := in_bucket(folder):
        name, _, prefix = bucket.path.strip("/").partition("/")
        prefix += "/" if prefix else ""
        with _asked(bucket):
            answer = bucket.fs.call_s3("list_objects_v2", Bucket=name, Prefix=prefix, Delimiter="/", MaxKeys=_GLANCE)
        files = [entry["Key"].removeprefix(prefix) for entry in answer.get("Contents", ())]
        folders = [entry["Prefix"].removeprefix(prefix).rstrip("/") for entry in answer.get("CommonPrefixes", ())]
        return _seen(files), _seen(folders)
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir()) for entry in islice(entries, _LOCAL_GLANCE)]
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    return _seen(name for name, is_folder in found if not is_folder), _seen(name for name, yes in found if yes)


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _seen(names: Iterable[str]) -> list[str]:
    """In order, without hidden ones, which are no part of a dataset."""
    return sorted(name for name in names if name and not name.startswith("."))


@dataclass(frozen=True)
class Folder:
    """A folder's files."""

    path: Path
    name: str  # relative to where the walk began; empty for that itself
    files: list[str]  # names, sorted
    stamps: dict[str, str] = field(default_factory=dict)  # in a bucket: what changes with a file's content, by name

    def relative(self, file: str) -> str:
        """A file's path from where the walk began."""
        return f"{self.name}/{file}" if self.name else file

    def stamp(self, file: str) -> str:
        """As `stamp_of`."""
        return self.stamps.get(file) or stamp_of(self.path / file)


def stamp_of(path: Path) -> str:
    """What changes with a file's content: its size, and its time or a bucket's checksum.

    Raises OSError, StorageError.
    """
    if bucket := in_bucket(path):
        with _asked(bucket):
            return _object_stamp(bucket.fs.info(bucket.path))
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def _object_stamp(info: dict[str, Any]) -> str:
    return f"{info['size']}-{info.get('ETag', '')}"


def walk(path: Path, name: str = "", above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Folder]:
    """A folder and those below it, in the order of their names, without hidden files. Raises OSError, StorageError.

    The names of one folder are in memory at a time. A link to a folder that holds it is not followed.
    """
    if bucket := in_bucket(path):
        with _asked(bucket):
            listed = bucket.fs.ls(bucket.path, detail=True)
        infos = {info["name"].rstrip("/"): info for info in listed}
        infos.pop(bucket.path.rstrip("/"), None)  # an empty object may stand for the folder itself
        folders = _seen(_last(name) for name, info in infos.items() if info["type"] == "directory")
        stamps = {_last(n): _object_stamp(i) for n, i in infos.items() if i["type"] == "file"}
        yield Folder(path, name, _seen(stamps), stamps)
    else:
        status = path.stat()
        if (status.st_dev, status.st_ino) in above:
            return
        above |= {(status.st_dev, status.st_ino)}
        with os.scandir(path) as entries:
            found = [(entry.name, entry.is_dir()) for entry in entries]
        folders = _seen(name for name, is_folder in found if is_folder)
        yield Folder(path, name, _seen(name for name, is_folder in found if not is_folder))
    for folder in folders:
        yield from walk(path / folder, f"{name}/{folder}" if name else folder, above)


def asked_of_each(source: Path, ask: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """`ask(item)` of each, in order; of a source in a bucket, where each is a request, many at once."""
    items = iter(items)
    if not in_bucket(source):
        yield from map(ask, items)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while some := list(islice(items, 8 * _AT_ONCE)):
            yield from pool.map(ask, some)


def read_bytes(path: Path) -> bytes:
    """All of a file. Raises OSError, StorageError."""
    if not (bucket := in_bucket(path)):
        return path.read_bytes()
    with _asked(bucket):
        return bytes(bucket.fs.cat_file(bucket.path))


def open_file(path: Path) -> BinaryIO:
    """A file to be read, best from its beginning to its end. It raises OSError and StorageError."""
    if not (bucket := in_bucket(path)):
        return path.open("rb")
    return cast(BinaryIO, io.BufferedReader(_BucketFile(bucket), 1 << 20))


class _BucketFile(io.RawIOBase):
    """An object whose failures are of one line."""

    def __init__(self, path: UPath) -> None:
        self._path = path
        with _asked(path):
            self._file = path.fs.open(path.path, "rb", block_size=_BLOCK, cache_type="readahead")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with _asked(self._path):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def _asked(path: UPath) -> Iterator[None]:
    """Raises FileNotFoundError as a folder would, and StorageError of one line for all else."""
    try:
        with storage.one_line(str(path)):
            yield
    except storage.MissingError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
