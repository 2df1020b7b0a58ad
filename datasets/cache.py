"""A node's cache of whole shards: least recently used ones leave first, many processes may share it."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from datasets.errors import UserError
from datasets.manifest import Shard

__all__ = ["CacheError", "ShardCache"]

_ABANDONED_SECONDS = 3600
_LOCKS = 64  # files; shards share them by their checksum


class CacheError(UserError):
    """What was downloaded is not the shard of the manifest; one line."""


@dataclass(frozen=True)
class ShardCache:
    """Shards in `folder`, named by their checksum, of at most `limit` bytes together."""

    folder: Path
    limit: int

    def read(self, shard: Shard, start: int, end: int, download: Callable[[], bytes]) -> bytes:
        """The shard's bytes [start, end); all of it is fetched by `download` at its first use on this node.

        Raises CacheError if what it gives has not the manifest's checksum, OSError where the folder cannot be written.
        """
        path = self._path(shard)
        while True:
            try:
                with path.open("rb") as file:
                    os.utime(path)  # used now
                    file.seek(start)
                    return file.read(end - start)
            except FileNotFoundError:  # not there yet, or evicted at this moment
                self._insert(shard, path, download)

    def fits(self, shard: Shard) -> bool:
        return shard.size <= self.limit

    def drop(self, shard: Shard) -> None:
        """Forget a shard whose copy here turned out damaged."""
        self._path(shard).unlink(missing_ok=True)

    def _path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.sha256}.tar"

    def _insert(self, shard: Shard, path: Path, download: Callable[[], bytes]) -> None:
        with self._locked(f"{int(shard.sha256, 16) % _LOCKS:02d}"):
            if path.exists():  # another process was faster
                return
            content = download()
            if hashlib.sha256(content).hexdigest() != shard.sha256:
                raise CacheError("has another checksum than the manifest's: damaged, or not the one that was packed")
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".partial-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                with self._locked("all"):
                    self._make_room(len(content))
                    Path(temporary).replace(path)
            finally:
                Path(temporary).unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        shards = []
        for path in self.folder.glob(".partial-*"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:  # of a process that was killed
                    path.unlink()
        for path in self.folder.glob("*.tar"):
            with suppress(FileNotFoundError):
                found = path.stat()
                shards.append((found.st_mtime_ns, found.st_size, path))
        total = size + sum(each for _, each, _ in shards)
        for _, each, path in sorted(shards):
            if total <= self.limit:
                return
            path.unlink(missing_ok=True)
            total -= each

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / name):
            yield
