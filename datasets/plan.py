"""What each worker reads in an epoch: a pure function of manifest, seed, epoch and world size.

The shards are put in a random order and laid end to end; the line of samples is cut into one stretch a worker, all of
the same number of batches; each stretch is cut into blocks that are read in one go and shuffled in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.manifest import Split

__all__ = ["Block", "Segment", "batches_per_worker", "plan_epoch"]

BLOCK_SAMPLES = 1024  # read and shuffled together: the bound on memory


@dataclass(frozen=True)
class Segment:
    """Samples [first, last) of one shard."""

    shard: int
    first: int
    last: int


@dataclass(frozen=True)
class Block:
    """Segments read together, and the order in which their samples are given out."""

    segments: tuple[Segment, ...]
    order: tuple[int, ...]


def batches_per_worker(samples: int, batch_size: int, world_size: int) -> int:
    """How many whole batches every worker has in an epoch."""
    return samples // world_size // batch_size


def plan_epoch(
    split: Split, *, rank: int, world_size: int, epoch: int = 0, seed: int = 0, shuffle: bool = True
) -> list[Block]:
    """The blocks of worker `rank`; over all ranks every sample of the split is in exactly one."""
    order = np.arange(len(split.shards))
    if shuffle:
        np.random.default_rng([seed, epoch, 0]).shuffle(order)
    begin, end = (split.samples * r // world_size for r in (rank, rank + 1))
    blocks = []
    for first in range(begin, end, BLOCK_SAMPLES):
        count = min(BLOCK_SAMPLES, end - first)
        given = np.arange(count)
        if shuffle:
            np.random.default_rng([seed, epoch, 1, first]).shuffle(given)
        blocks.append(Block(tuple(_segments(split, order, first, first + count)), tuple(int(i) for i in given)))
    return blocks


def _segments(split: Split, order: np.ndarray, begin: int, end: int) -> list[Segment]:
    segments, position = [], 0
    for shard in order:
        count = split.shards[shard].samples
        first, last = max(begin - position, 0), min(end - position, count)
        if first < last:
            segments.append(Segment(int(shard), first, last))
        position += count
    return segments
