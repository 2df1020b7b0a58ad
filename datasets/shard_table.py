"""The shards of a split, a row each: <split>-shards.npy."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

__all__ = ["Shard", "ShardTable", "read_table", "table_bytes"]

_HASH = ("u1", (32,))
_ROW = np.dtype(
    [("samples", "<u4"), ("size", "<u8"), ("sha256", *_HASH), ("index_sha256", *_HASH), ("captions_sha256", *_HASH)]
)


@dataclass(frozen=True)
class Shard:
    name: str
    samples: int
    size: int  # bytes
    sha256: str
    index_sha256: str  # of the file `index`
    captions_sha256: str  # of the file `captions`

    @property
    def index(self) -> str:
        return f"{self.name.removesuffix('.tar')}.index.npy"

    @property
    def captions(self) -> str:
        return f"{self.name.removesuffix('.tar')}.captions.jsonl"


class ShardTable(Sequence[Shard]):
    """The shards of a split, 108 bytes each: <split>-shards.npy."""

    def __init__(self, split: str, rows: np.ndarray) -> None:
        self.split, self.rows = split, rows

    @classmethod
    def of(cls, split: str, shards: Sequence[Shard]) -> ShardTable:
        """Of shards whose names are those of their places."""
        rows = np.zeros(len(shards), _ROW)
        for row, shard in zip(rows, shards, strict=True):
            row["samples"], row["size"] = shard.samples, shard.size
            for key in ("sha256", "index_sha256", "captions_sha256"):
                row[key] = np.frombuffer(bytes.fromhex(getattr(shard, key)), np.uint8)
        return cls(split, rows)

    @classmethod
    def from_bytes(cls, split: str, content: bytes) -> ShardTable:
        """Raises ValueError where it is not what `to_bytes` wrote."""
        rows = read_table(content, _ROW)
        if not len(rows) or not rows["samples"].all() or not rows["size"].all():
            raise ValueError("expected shards with samples")
        return cls(split, rows)

    def to_bytes(self) -> bytes:
        return table_bytes(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, number: int) -> Shard: ...
    @overload
    def __getitem__(self, number: slice) -> list[Shard]: ...
    def __getitem__(self, number: int | slice) -> Shard | list[Shard]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        row, place = self.rows[number], number % len(self)
        sums = (row[key].tobytes().hex() for key in ("sha256", "index_sha256", "captions_sha256"))
        return Shard(f"{self.split}-{place:06d}.tar", int(row["samples"]), int(row["size"]), *sums)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShardTable) and self.split == other.split and np.array_equal(self.rows, other.rows)

    __hash__ = None  # type: ignore[assignment]  # it holds an array


def table_bytes(rows: np.ndarray) -> bytes:
    """An array as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    return buffer.getvalue()


def read_table(content: bytes, dtype: np.dtype) -> np.ndarray:
    """The array of a .npy file with one dimension. Raises ValueError where it is not one of that type."""
    try:
        rows = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"not an array ({error})") from None
    if not isinstance(rows, np.ndarray) or rows.dtype != dtype or rows.ndim != 1:
        raise ValueError("an array of another kind")
    return rows
