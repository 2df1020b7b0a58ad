"""Encoded samples between reading and storing: blobs in which those of one stretch of places are together.

A sample's place is a checksum of its key. Sorted by it, the samples of a source are in a random order, which is the
same however many processes read the source and wherever they began again.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datasets import storage
from datasets.manifest import SPLIT_NAMES
from datasets.shard_table import read_table, table_bytes

__all__ = ["ROW", "SPLITS", "Spooled", "blob_samples", "draw_of", "place_of", "read_rows", "write_blob"]

SPLITS = tuple(SPLIT_NAMES)
ROW = np.dtype([("split", "u1"), ("place", "<u8"), ("offset", "<u8"), ("size", "<u4")])
_HEADER = struct.Struct("<QII")  # place, bytes of the description, bytes of the image


def place_of(key: str) -> int:
    """64 bits."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def draw_of(key: str) -> int:
    """64 other bits, which decide the split of an image that has none, whatever other images there are."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[8:16], "big")


@dataclass(frozen=True)
class Spooled:
    """A sample on its way."""

    place: int
    key: str
    image: str  # name, for messages
    captions: tuple[str, ...]
    class_name: str
    class_id: int | None
    jpg: bytes

    def frame(self) -> bytes:
        said = json.dumps([self.key, self.image, self.captions, self.class_name, self.class_id]).encode()
        return _HEADER.pack(self.place, len(said), len(self.jpg)) + said + self.jpg


def write_blob(location: str, samples: list[tuple[str, Spooled]]) -> np.ndarray:
    """Write samples with their splits; the rows of what is where, sorted by split and place."""
    ordered = sorted(samples, key=lambda entry: (SPLITS.index(entry[0]), entry[1].place))
    frames = [sample.frame() for _, sample in ordered]
    rows = np.zeros(len(ordered), ROW)
    rows["split"] = [SPLITS.index(split) for split, _ in ordered]
    rows["place"] = [sample.place for _, sample in ordered]
    rows["size"] = [len(frame) for frame in frames]
    rows["offset"] = np.cumsum([0, *map(len, frames)])[:-1]
    storage.write_bytes(f"{location}.bin", b"".join(frames))
    storage.write_bytes(f"{location}.npy", table_bytes(rows))
    return rows


def read_rows(location: str) -> np.ndarray:
    """The rows of a blob. Raises ValueError where they are damaged, StorageError."""
    return read_table(storage.read_bytes(f"{location}.npy"), ROW)


def blob_samples(content: bytes) -> Iterator[Spooled]:
    """The samples of a stretch of a blob."""
    offset = 0
    while offset < len(content):
        place, described, image = _HEADER.unpack_from(content, offset)
        offset += _HEADER.size
        key, name, captions, class_name, class_id = json.loads(content[offset : offset + described])
        offset += described
        yield Spooled(place, key, name, tuple(captions), class_name, class_id, content[offset : offset + image])
        offset += image
