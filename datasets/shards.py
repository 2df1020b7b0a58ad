"""Samples out of shards by byte range: fetched again where the way failed, held to the manifest's checksums."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from datasets import storage
from datasets.cache import CacheError, ShardCache
from datasets.errors import UserError
from datasets.index import load_index
from datasets.manifest import Shard, Split
from datasets.plan import Segment, segments
from datasets.storage import Retry, StorageError

__all__ = ["DatasetError", "ReadOptions", "Sample", "Skipped", "read_samples"]

_TAR_BLOCK = 512
_CHECKSUM_ATTEMPTS = 3  # what arrives damaged may have been damaged on the way


class DatasetError(UserError):
    """A shard is missing, short or damaged; one line naming it."""


class Sample(NamedTuple):
    key: str
    jpg: bytes
    fields: dict[str, Any]  # class, captions


@dataclass(frozen=True)
class ReadOptions:
    """How to read a dataset; but for `mirror` none of it changes what a healthy one gives."""

    loaders: int = 0  # processes that decode; 0: a thread
    retry: Retry = field(default_factory=Retry)
    on_bad_shard: Literal["error", "skip"] = "error"
    cache: ShardCache | None = None
    mirror: bool = True  # whether half of the augmented images are flipped


@dataclass
class Skipped:
    """What could not be read and was replaced by other samples."""

    shards: Counter[str] = field(default_factory=Counter)  # reason that names the shard → samples
    images: Counter[str] = field(default_factory=Counter)  # reason that names the image → times

    @property
    def samples(self) -> int:
        return self.shards.total() + self.images.total()


def read_samples(
    url: str, split: Split, positions: np.ndarray, options: ReadOptions
) -> tuple[list[Sample | None], dict[int, str]]:
    """The samples at the stored positions, in their order; None, and why by position, for those that are lost.

    Raises DatasetError at the first lost one unless `options.on_bad_shard` is skip.
    """
    found: dict[int, Sample] = {}
    lost: dict[int, str] = {}
    for segment in segments(split, positions):
        first = int(split.starts[segment.shard]) + segment.first
        samples, problem = _read_segment(url, split.shards[segment.shard], segment, options)
        if problem is not None and options.on_bad_shard == "error":
            raise DatasetError(problem)
        for position, sample in enumerate(samples, start=first):
            if sample is None:
                lost[position] = str(problem)
            else:
                found[position] = sample
    wanted = positions.tolist()
    return [found.get(position) for position in wanted], {p: lost[p] for p in wanted if p in lost}


def _read_segment(
    url: str, shard: Shard, segment: Segment, options: ReadOptions
) -> tuple[list[Sample | None], str | None]:
    """The segment's samples, those that are damaged as None, and what is wrong."""
    location = storage.join(url, shard.name)
    try:
        index = load_index(url, shard, options.retry)
    except UserError as error:
        return [None] * (segment.last - segment.first), str(error)
    spans = [index.span(i, i + 1) for i in range(segment.first, segment.last)]
    start = spans[0][0]
    parts: list[memoryview] = []
    sound = [False] * len(spans)
    for attempt in range(1, _CHECKSUM_ATTEMPTS + 1):
        try:
            content = memoryview(_fetch(location, shard, start, spans[-1][1], options))
        except StorageError as error:
            return [None] * len(spans), str(error)
        except CacheError:
            options = replace(options, cache=None)  # of a shard that is damaged somewhere the rest is still good
            continue
        parts = [content[a - start : b - start] for a, b in spans]
        sums = index.crc32[segment.first : segment.last].tolist()
        sound = [zlib.crc32(part) == crc for part, crc in zip(parts, sums, strict=True)]
        if all(sound):
            return list(_parse(location, parts)), None
        if options.cache is not None:
            options.cache.drop(shard)
        if attempt < _CHECKSUM_ATTEMPTS:
            options.retry.wait(attempt)
    intact = [part for part, good in zip(parts, sound, strict=True) if good]
    samples = _parse(location, intact)
    problem = (
        f"{location}: {len(spans) - len(intact)} of the samples {segment.first}–{segment.last - 1} have other "
        "checksums than the manifest's; the shard is damaged or not the one that was packed"
    )
    return [next(samples) if good else None for good in sound], problem


def _fetch(location: str, shard: Shard, start: int, end: int, options: ReadOptions) -> bytes:
    cache = options.cache
    if cache is None or storage.is_local(location) or not cache.fits(shard):
        return storage.read_range(location, start, end, options.retry)
    try:
        return cache.read(shard, start, end, lambda: storage.read_range(location, 0, shard.size, options.retry))
    except OSError as error:
        raise DatasetError(f"data.cache_dir={cache.folder}: cannot be used: {error}") from error


def _parse(location: str, parts: Sequence[memoryview]) -> Iterator[Sample]:
    for part in parts:
        members = list(_members(part))
        if len(members) != 2:
            raise DatasetError(f"{location}: a sample has {len(members)} files, expected an image and its JSON")
        fields = json.loads(bytes(members[1]))
        yield Sample(fields.pop("key"), bytes(members[0]), fields)


def _members(part: memoryview) -> Iterator[memoryview]:
    """The contents of the regular files in a piece of a tar whose checksum is right.

    tarfile does this too, in 0.15 ms a sample of the interpreter's lock: a fifth of what decoding the image takes.
    """
    offset = 0
    while offset + _TAR_BLOCK <= len(part) and part[offset] != 0:
        size = int(bytes(part[offset + 124 : offset + 135]), 8)
        kind = part[offset + 156]
        offset += _TAR_BLOCK
        if kind == ord("0"):  # others hold long names
            yield part[offset : offset + size]
        offset += -(-size // _TAR_BLOCK) * _TAR_BLOCK
