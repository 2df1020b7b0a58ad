"""Where the samples of a shard are: <split>-000000.index.npy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from datasets import storage
from datasets.manifest import ManifestError, Shard, well_formed
from datasets.shard_table import read_table, table_bytes
from datasets.storage import Retry

__all__ = ["ShardIndex", "index_bytes", "load_index"]

_ROW = np.dtype([("offset", "<u8"), ("crc32", "<u4")])
_HEADER_BYTES = 128  # of a .npy file with such rows
_KEPT = 256  # indexes in memory, 12 bytes a sample


@dataclass(frozen=True)
class ShardIndex:
    offsets: np.ndarray  # byte at which each sample's first tar header starts, uint64 (samples,)
    crc32: np.ndarray  # of each sample's bytes, to the next one's start or the shard's end, uint32 (samples,)
    size: int  # bytes of the shard

    def span(self, first: int, last: int) -> tuple[int, int]:
        """The bytes [start, end) that hold the samples [first, last)."""
        return int(self.offsets[first]), int(self.offsets[last]) if last < len(self.offsets) else self.size


def index_bytes(offsets: list[int], crc32: list[int]) -> bytes:
    """The file of a shard's samples."""
    rows = np.zeros(len(offsets), _ROW)
    rows["offset"], rows["crc32"] = offsets, crc32
    content = table_bytes(rows)
    assert len(content) == _HEADER_BYTES + rows.nbytes
    return content


@lru_cache(maxsize=_KEPT)
def load_index(url: str, shard: Shard, retry: Retry | None = None) -> ShardIndex:
    """The index of a shard of the dataset at `url`, held to the manifest's checksum.

    Raises ManifestError, StorageError.
    """
    location = storage.join(url, shard.index)
    content = storage.read_range(location, 0, _HEADER_BYTES + shard.samples * _ROW.itemsize, retry)
    if hashlib.sha256(content).hexdigest() != shard.index_sha256:
        raise ManifestError(f"{location}: has another checksum than the manifest's: it was damaged or changed")
    with well_formed(location, "a shard's index"):
        rows = read_table(content, _ROW)
        rising = all(a < b for a, b in pairwise([*rows["offset"].tolist(), shard.size]))
        if len(rows) != shard.samples or not rising:
            raise ValueError("its samples do not fit the shard")
    return ShardIndex(rows["offset"], rows["crc32"], shard.size)
