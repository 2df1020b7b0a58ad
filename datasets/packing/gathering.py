"""Storing shards: their samples gathered from the blobs, in the order of their places."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, groupby

from pydantic import TypeAdapter

from datasets import storage
from datasets.captions import Captions, captions_bytes
from datasets.index import index_bytes
from datasets.manifest import Shard
from datasets.packing.arrange import Gathering, ShardRange
from datasets.packing.decisions import Decisions, class_of
from datasets.packing.spool import Spooled, blob_samples
from datasets.sources.records import Rejection

__all__ = ["Written", "store_shards", "stored_before"]


@dataclass(frozen=True)
class Written:
    """One shard as it is in storage, and what of its samples is not in it."""

    identity: str  # of the source it is of
    shard: Shard
    captions: int
    alone: int  # images that are a class of their own
    classes: tuple[int, ...]  # the others'
    rejected: tuple[Rejection, ...]


_WRITTEN = TypeAdapter(Written)


def store_shards(gathering: Gathering, dest: str, state: str, decisions: Decisions, identity: str) -> list[Written]:
    """Store the shards with their indexes and captions, and a note of each in `state`. Raises StorageError."""
    samples = [
        (sample, order)
        for order, stretch in enumerate(gathering.stretches)
        for sample in blob_samples(
            storage.read_range(storage.join(state, f"{stretch.blob}.bin"), stretch.start, stretch.end)
        )
    ]
    # Samples of one place are in the order of the blobs, which are in the source's.
    samples.sort(key=lambda entry: (entry[0].place, entry[1]))
    results = []
    for shard in gathering.shards:
        own = [sample for sample, _ in samples if _belongs(sample, shard, decisions)]
        written = _store(shard, own, dest, decisions, identity)
        storage.write_bytes(storage.join(state, f"{shard.name}.json"), _WRITTEN.dump_json(written))
        results.append(written)
    return results


def stored_before(shard: ShardRange, dest: str, state: str, identity: str, there: dict[str, int]) -> Written | None:
    """What an earlier start stored of the same samples, with the sizes of the files `there` in `dest`."""
    location = storage.join(state, f"{shard.name}.json")
    try:
        written: Written = _WRITTEN.validate_json(storage.read_bytes(location))
    except (ValueError, storage.MissingError):
        return None
    sound = written.identity == identity and there.get(shard.name) == written.shard.size
    return written if sound and {written.shard.index, written.shard.captions} <= there.keys() else None


def _belongs(sample: Spooled, shard: ShardRange, decisions: Decisions) -> bool:
    if sample.place == decisions.moved and not shard.name.startswith("test-"):
        return False
    return shard.low <= sample.place < shard.high


def _store(place: ShardRange, samples: Sequence[Spooled], dest: str, decisions: Decisions, identity: str) -> Written:
    kept, rejected = _told_apart(samples)
    buffer, offsets = io.BytesIO(), list[int]()
    entries, alone, classes = list[Captions](), 0, set[int]()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for key, sample in kept:
            number, own = class_of(decisions, sample.class_id, sample.class_name, sample.place)
            alone += own
            classes |= set() if own else {number}
            entries.append(Captions(key, number, key if own else sample.class_name or str(number), sample.captions))
            offsets.append(tar.offset)
            fields = {"key": key, "class": number, "captions": sample.captions}
            _add(tar, f"{key}.jpg", sample.jpg)
            _add(tar, f"{key}.json", json.dumps(fields).encode())
    content = buffer.getvalue()
    sums = [zlib.crc32(content[a:b]) for a, b in zip(offsets, [*offsets[1:], len(content)], strict=True)]
    index, captions = index_bytes(offsets, sums), captions_bytes(entries)
    hashes = [hashlib.sha256(part).hexdigest() for part in (content, index, captions)]
    shard = Shard(place.name, len(kept), len(content), *hashes)
    for name, part in ((shard.index, index), (shard.captions, captions), (shard.name, content)):
        storage.write_bytes(storage.join(dest, name), part)
    texts = sum(len(entry.captions) for entry in entries)
    return Written(identity, shard, texts, alone, tuple(sorted(classes)), tuple(rejected))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """A file as WebDataset's own writer adds it. That one imports torch, which packing needs for nothing else."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o444
    tar.addfile(member, io.BytesIO(content))


def _told_apart(samples: Sequence[Spooled]) -> tuple[list[tuple[str, Spooled]], list[Rejection]]:
    """The samples with keys that differ; an image that is named twice is there once."""
    kept, rejected = list[tuple[str, Spooled]](), list[Rejection]()
    for key, group in groupby(samples, key=lambda sample: sample.key):
        images, keys = set[str](), set[str]()
        for sample in group:
            if sample.image in images:
                rejected.append(Rejection(sample.image, "the image is named twice"))
                continue
            images.add(sample.image)
            keys.add(new := _new_key(key, sample.image, keys))
            kept.append((new, sample))
    return kept, rejected


def _new_key(key: str, image: str, taken: set[str]) -> str:
    """The key, or one that tells a.png from a.jpg where that is taken."""
    if key not in taken:
        return key
    suffix = image.rpartition(".")[2]
    return next(other for n in count(1) if (other := f"{key}_{suffix}" + (f"_{n}" if n > 1 else "")) not in taken)
