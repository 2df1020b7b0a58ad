"""Parquet files read a group of rows at a time, whatever their size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.sources.place import open_file
from datasets.sources.records import SourceError

__all__ = ["rows_of", "schema_of"]

_ROWS = 64  # made Python objects at a time: images are large


def schema_of(path: Path) -> Any:
    """The file's `pyarrow.Schema`. Raises SourceError, StorageError."""
    try:
        with open_file(path) as file:
            return pq.ParquetFile(file).schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def rows_of(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The file's rows by the columns' names, in order. Raises SourceError, StorageError."""
    try:
        with open_file(path) as file:
            batches = pq.ParquetFile(file, pre_buffer=False).iter_batches(_ROWS, columns=columns, use_threads=False)
            for batch in batches:
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{path}: not found; expected a Parquet file")
    return SourceError(f"{path}: not a readable Parquet file ({getattr(error, 'strerror', None) or error})")
