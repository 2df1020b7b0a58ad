"""What each worker reads in an epoch: a pure function of manifest, seed, epoch and world size.

The shards are put in a random order and laid end to end; the line of samples is cut into one stretch a worker, all of
the same number of batches; each stretch is cut into blocks that are read in one go and shuffled in memory. When an
epoch goes on with another number of workers or batch size, what is left of the blocks is the new line.

Nothing here grows with the samples: the line is ranges of them, one a shard, and a block is made when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets.manifest import Split

__all__ = ["EpochPlan", "Leg", "Segment", "batches_per_worker", "plan_epoch", "plan_range", "segments"]

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


class _Line:
    """Ranges [first, first + length) of stored positions, one after the other."""

    def __init__(self, firsts: np.ndarray, lengths: np.ndarray) -> None:
        self.firsts, self.lengths = firsts.astype(np.int64), lengths.astype(np.int64)
        self.ends = np.cumsum(self.lengths)

    def __len__(self) -> int:
        """Samples."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def cut(self, begin: int, end: int) -> _Line:
        """The samples [begin, end) of the line."""
        low, high = np.searchsorted(self.ends, begin, side="right"), np.searchsorted(self.ends, end, side="left") + 1
        firsts, lengths, ends = self.firsts[low:high], self.lengths[low:high], self.ends[low:high]
        starts = ends - lengths
        skipped = np.maximum(begin - starts, 0)
        return _Line(firsts + skipped, np.minimum(ends, end) - starts - skipped)

    def positions(self) -> np.ndarray:
        """Every sample's stored position, int64."""
        within = np.arange(len(self)) - np.repeat(self.ends - self.lengths, self.lengths)
        return np.repeat(self.firsts, self.lengths) + within


class EpochPlan(Sequence[np.ndarray]):
    """A worker's blocks: stored positions (0 … samples − 1) in the order they are given out.

    Block sizes double from FIRST_BLOCK to BLOCK_SAMPLES.
    """

    def __init__(self, line: _Line, rank: int, world_size: int, key: Sequence[int] | None) -> None:
        self._line, self._key = line, key
        self._begin, self._end = (len(line) * r // world_size for r in (rank, rank + 1))

    def __len__(self) -> int:
        samples, size, blocks = self._end - self._begin, FIRST_BLOCK, 0
        while size < BLOCK_SAMPLES and samples > 0:
            samples, size, blocks = samples - size, 2 * size, blocks + 1
        return blocks + max(0, -(-samples // BLOCK_SAMPLES))

    def __getitem__(self, number: int) -> np.ndarray:  # type: ignore[override]  # no slices are asked for
        begin, end = self._bounds(number)
        block = self._line.cut(begin, end).positions()
        if self._key is not None:
            np.random.default_rng([*self._key, begin]).shuffle(block)
        return block

    def size(self, number: int) -> int:
        """Samples of a block."""
        begin, end = self._bounds(number)
        return end - begin

    def left(self, given: int) -> _Line:
        """What remains when so many samples have been given out, in stored order where a block was begun."""
        number = 0
        while number < len(self) and given >= self.size(number):
            given -= self.size(number)
            number += 1
        if number == len(self):
            return self._line.cut(self._end, self._end)
        begun, later = np.sort(self[number][given:]), self._line.cut(self._bounds(number)[1], self._end)
        return _Line(np.concatenate([begun, later.firsts]), np.concatenate([np.ones_like(begun), later.lengths]))

    def _bounds(self, number: int) -> tuple[int, int]:
        """The stretch of the line that a block holds."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        growing = (BLOCK_SAMPLES // FIRST_BLOCK).bit_length() - 1
        small, large = min(number, growing), max(0, number - growing)
        begin = self._begin + FIRST_BLOCK * (2**small - 1) + BLOCK_SAMPLES * large
        return begin, min(begin + min(FIRST_BLOCK * 2**small, BLOCK_SAMPLES), self._end)


def plan_epoch(
    split: Split,
    *,
    rank: int,
    world_size: int,
    epoch: int = 0,
    seed: int = 0,
    shuffle: bool = True,
    legs: Sequence[Leg] = (),
) -> EpochPlan:
    """The blocks of worker `rank` after `legs`.

    Over all ranks every sample that no leg has given out is in exactly one block.
    """
    order = np.arange(len(split.shards))
    if shuffle:
        np.random.default_rng([seed, epoch, 0]).shuffle(order)
    line = _Line(split.starts[order], split.shards.rows["samples"][order])
    for number, leg in enumerate(legs):
        key = [seed, epoch, 1, number] if shuffle else None
        given = leg.batches * leg.batch_size
        left = [EpochPlan(line, r, leg.world_size, key).left(given) for r in range(leg.world_size)]
        line = _Line(np.concatenate([p.firsts for p in left]), np.concatenate([p.lengths for p in left]))
    return EpochPlan(line, rank, world_size, [seed, epoch, 1, len(legs)] if shuffle else None)


def plan_range(first: int, last: int) -> EpochPlan:
    """The blocks of the stored positions [first, last), in order."""
    return EpochPlan(_Line(np.array([first]), np.array([max(0, last - first)])), 0, 1, None)


def segments(split: Split, positions: np.ndarray) -> list[Segment]:
    """The stretches of shards that hold the samples at `positions`, nearly adjoining ones read in one."""
    found: list[Segment] = []
    ordered = np.sort(positions)
    shards = np.searchsorted(split.starts, ordered, side="right") - 1
    for shard, index in zip(shards.tolist(), (ordered - split.starts[shards]).tolist(), strict=True):
        if found and found[-1].shard == shard and index <= found[-1].last + GAP_SAMPLES:
            found[-1] = Segment(shard, found[-1].first, index + 1)
        else:
            found.append(Segment(shard, index, index + 1))
    return found
