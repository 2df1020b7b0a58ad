"""Which samples a shard holds: cuts through the places of a split's samples, so many to a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.packing.decisions import Decisions
from datasets.packing.spool import ROW, SPLITS

__all__ = ["Catalogue", "Gathering", "ShardRange", "Stretch"]

_END = 1 << 64
_BITS = 12  # of a place: samples are sorted so many stretches at a time
_SORTED = 1 << 22  # samples sorted at once
_GATHERED_BYTES = 64 << 20  # what a process that stores shards holds


@dataclass(frozen=True)
class ShardRange:
    """The samples of a shard: those of the split with places in [low, high)."""

    name: str
    low: int
    high: int


@dataclass(frozen=True)
class Stretch:
    """Bytes [start, end) of a blob."""

    blob: str
    start: int
    end: int


@dataclass(frozen=True)
class Gathering:
    """Neighbouring shards of a split, and where their samples are."""

    shards: tuple[ShardRange, ...]
    stretches: tuple[Stretch, ...]


class Catalogue:
    """What is where in the blobs: 21 bytes a sample, in a file that `rows` maps into memory."""

    def __init__(self, rows: np.ndarray, blobs: Sequence[tuple[str, int, int]], decisions: Decisions) -> None:
        """`blobs`: names, first rows and numbers of rows."""
        assert rows.dtype == ROW
        self._decisions = decisions
        self._blobs = [(name, rows[first : first + count]) for name, first, count in blobs]

    def gatherings(self, split: str, each: int) -> Iterator[Gathering]:
        """All shards of a split of the dataset, of `each` samples at most, with where to find them."""
        named = [ShardRange(f"{split}-{i:06d}.tar", *bounds) for i, bounds in enumerate(self._ranges(split, each))]
        samples = size = 0
        for segment, _ in self._segments(split, 0, _END):
            samples, size = samples + len(segment), size + int(segment["size"].sum())
        together = max(1, int(_GATHERED_BYTES / max(1, size / max(1, samples) * each)))
        for first in range(0, len(named), together):
            shards = tuple(named[first : first + together])
            stretches = []
            for segment, blob in self._segments(split, shards[0].low, shards[-1].high):
                start, last = int(segment[0]["offset"]), segment[-1]
                stretches.append(Stretch(blob, start, int(last["offset"]) + int(last["size"])))
            yield Gathering(shards, tuple(stretches))

    def _ranges(self, split: str, each: int) -> Iterator[tuple[int, int]]:
        """Bounds of the places of `each` samples after the other; samples of one place stay together."""
        low, pending = 0, np.empty(0, np.uint64)
        for begin, end in self._chunks(split):
            places = [segment["place"] for segment, _ in self._segments(split, begin, end)]
            pending = np.concatenate([pending, np.sort(np.concatenate(places))]) if places else pending
            while len(pending) > each:
                cut = int(np.searchsorted(pending, pending[each - 1], side="right"))
                if cut == len(pending):
                    break
                yield low, (low := int(pending[cut]))
                pending = pending[cut:]
        if len(pending):
            yield low, _END

    def _chunks(self, split: str) -> Iterator[tuple[int, int]]:
        """Stretches of places with few enough samples to sort at once."""
        counts = np.zeros(1 << _BITS, np.int64)
        for segment, _ in self._segments(split, 0, _END):
            counts += np.bincount((segment["place"] >> np.uint64(64 - _BITS)).astype(np.int64), minlength=1 << _BITS)
        begin, held = 0, 0
        for number, count in enumerate(counts.tolist()):
            if held and held + count > _SORTED:
                yield begin, (begin := number << (64 - _BITS))
                held = 0
            held += count
        yield begin, _END

    def _segments(self, split: str, low: int, high: int) -> Iterator[tuple[np.ndarray, str]]:
        """The rows of each blob in a split of the dataset with places in [low, high), and the blob's name."""
        moved = self._decisions.moved
        if split == "test" and moved is not None:
            split, low, high = "train", max(low, moved), min(high, moved + 1)
        sources = [SPLITS.index(name) for name, becomes in self._decisions.renamed.items() if becomes == split]
        for blob, rows in self._blobs:
            for code in sources:
                first, last = np.searchsorted(rows["split"], [code, code + 1])
                places = rows["place"][first:last]
                begin = np.searchsorted(places, np.uint64(low))
                end = len(places) if high >= _END else np.searchsorted(places, np.uint64(high))
                if begin < end:
                    yield rows[first + begin : first + end], blob
