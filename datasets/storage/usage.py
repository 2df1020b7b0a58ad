"""How much a folder, or all under a prefix, holds, and when something of it was last written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from datasets.storage.files import filesystem, one_line
from datasets.storage.urls import MissingError

__all__ = ["Usage", "usage"]


@dataclass(frozen=True)
class Usage:
    """Of all files below."""

    size: int  # bytes
    written: float  # the newest, seconds since 1970; 0 without any


def usage(url: str) -> Usage:
    """Raises StorageError where it cannot be listed; nothing where there is no such folder."""
    fs, path = filesystem(url)
    try:
        with one_line(url):
            files: dict[str, dict[str, Any]] = fs.find(path, detail=True)
    except MissingError:
        files = {}
    return Usage(
        size=sum(int(info.get("size") or 0) for info in files.values()),
        written=max((_written(info) for info in files.values()), default=0.0),
    )


def _written(info: dict[str, Any]) -> float:
    """A folder says `mtime`, a bucket `LastModified`."""
    value = info.get("mtime", info.get("LastModified"))
    return value.timestamp() if isinstance(value, datetime) else float(value or 0)
