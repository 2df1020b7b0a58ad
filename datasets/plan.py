"""What each worker reads in an epoch: a pure function of manifest, seed, epoch and world size.

The shards are put in a random order and laid end to end; the line of samples is cut into one stretch a worker, all of
the same number of batches; each stretch is cut into blocks that are read in one go and shuffled in memory. When an
epoch goes on with another number of workers or batch size, what is left of the blocks is the new line.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from datasets.manifest import Split

__all__ = ["Leg", "Segment", "batches_per_worker", "plan_epoch", "segments"]

BLOCK_SAMPLES = 1024  # read and shuffled together: the bound on memory
FIRST_BLOCK = 64  # blocks grow up to that, so that an epoch's first batch does not wait for a large one
GAP_SAMPLES = 16  # unwanted samples that are read along rather than asked around


@dataclass(frozen=True)
class Leg:
    """A part of an epoch that is over: `batches` by each of `world_size` workers of `batch_size`."""

    world_size: int
    batch_size: int
    batches: int

    @property
    def samples(self) -> int:
        return self.world_size * self.batch_size * self.batches


@dataclass(frozen=True)
class Segment:
    """Samples [first, last) of one shard."""

    shard: int
    first: int
    last: int


def batches_per_worker(samples: int, batch_size: int, world_size: int, legs: Sequence[Leg] = ()) -> int:
    """How many whole batches every worker has in an epoch, or in what the legs left of it."""
    return (samples - sum(leg.samples for leg in legs)) // world_size // batch_size


def plan_epoch(
    split: Split,
    *,
    rank: int,
    world_size: int,
    epoch: int = 0,
    seed: int = 0,
    shuffle: bool = True,
    legs: Sequence[Leg] = (),
) -> Iterator[np.ndarray]:
    """The blocks of worker `rank` after `legs`: stored positions (0 … samples − 1) in the order they are given out.

    Over all ranks every sample that no leg has given out is in exactly one block.
    """
    order = np.arange(len(split.shards))
    if shuffle:
        np.random.default_rng([seed, epoch, 0]).shuffle(order)
    line: list[Sequence[int]] = [range(split.starts[i], split.starts[i] + split.shards[i].samples) for i in order]
    for number, leg in enumerate(legs):
        key = [seed, epoch, 1, number] if shuffle else None
        line = [part for r in range(leg.world_size) for part in _left(line, r, leg, key)]
    return _blocks(line, rank, world_size, [seed, epoch, 1, len(legs)] if shuffle else None)


def _blocks(line: Sequence[Sequence[int]], rank: int, world_size: int, key: list[int] | None) -> Iterator[np.ndarray]:
    ends = list(accumulate(len(part) for part in line))
    samples = ends[-1] if ends else 0
    begin, end = (samples * r // world_size for r in (rank, rank + 1))
    size = FIRST_BLOCK
    while begin < end:
        block = np.concatenate([np.asarray(part) for part in _cut(line, ends, begin, min(begin + size, end))])
        if key is not None:
            np.random.default_rng([*key, begin]).shuffle(block)
        yield block
        begin, size = begin + size, min(2 * size, BLOCK_SAMPLES)


def _left(line: Sequence[Sequence[int]], rank: int, leg: Leg, key: list[int] | None) -> Iterator[Sequence[int]]:
    """What a worker of `leg` had not given out, in stored order."""
    given = leg.batches * leg.batch_size
    for block in _blocks(line, rank, leg.world_size, key):
        if given < len(block):
            yield np.sort(block[given:]).tolist()
        given = max(0, given - len(block))


def _cut(line: Sequence[Sequence[int]], ends: list[int], begin: int, end: int) -> Iterator[Sequence[int]]:
    """The samples [begin, end) of the line, whose parts end at `ends`."""
    for i in range(bisect_right(ends, begin), len(line)):
        start = ends[i] - len(line[i])
        if start >= end:
            return
        yield line[i][max(begin - start, 0) : end - start]


def segments(split: Split, positions: np.ndarray) -> list[Segment]:
    """The stretches of shards that hold the samples at `positions`, nearly adjoining ones read in one."""
    starts = np.asarray(split.starts)
    found: list[Segment] = []
    ordered = np.sort(positions)
    shards = np.searchsorted(starts, ordered, side="right") - 1
    for shard, index in zip(shards.tolist(), (ordered - starts[shards]).tolist(), strict=True):
        if found and found[-1].shard == shard and index <= found[-1].last + GAP_SAMPLES:
            found[-1] = Segment(shard, found[-1].first, index + 1)
        else:
            found.append(Segment(shard, index, index + 1))
    return found
