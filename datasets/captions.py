"""The captions of a packed dataset, shard by shard, without its images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from datasets import storage
from datasets.manifest import Manifest, ManifestError, Shard, load_manifest, well_formed

__all__ = ["Captions", "captions_bytes", "load_captions"]

_AHEAD = 8  # shards' files asked for at once


@dataclass(frozen=True)
class Captions:
    """One image's captions."""

    key: str
    class_id: int
    class_name: str  # for people
    captions: tuple[str, ...]


def captions_bytes(entries: Sequence[Captions]) -> bytes:
    """<split>-000000.captions.jsonl of the images of a shard, in stored order."""
    trees = ({"key": e.key, "class": e.class_id, "name": e.class_name, "captions": e.captions} for e in entries)
    return "".join(f"{json.dumps(tree, ensure_ascii=False)}\n" for tree in trees).encode()


def load_captions(url: str, split: str, manifest: Manifest | None = None) -> Iterator[Captions]:
    """The captions of a split in stored order, read as they are asked for and held to the manifest's checksums.

    The manifest is read where it is not given. Raises ManifestError, StorageError.
    """
    shards = iter((manifest or load_manifest(url)[0]).split(split).shards)
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="captions") as pool:
        while chunk := list(islice(shards, _AHEAD)):
            for entries in pool.map(lambda shard: _of_shard(url, shard), chunk):
                yield from entries


def _of_shard(url: str, shard: Shard) -> list[Captions]:
    location = storage.join(url, shard.captions)
    if not storage.exists(location):
        raise ManifestError(f"{location}: not found; pack the dataset again")
    content = storage.read_bytes(location)
    if hashlib.sha256(content).hexdigest() != shard.captions_sha256:
        raise ManifestError(f"{location}: has another checksum than the manifest's: it was damaged or changed")
    with well_formed(location, "a list of captions"):
        entries = [_entry(json.loads(line)) for line in content.decode().split("\n") if line]
        if len(entries) != shard.samples:
            raise ValueError(f"{len(entries)} images, the manifest says {shard.samples}")
        return entries


def _entry(raw: dict[str, object]) -> Captions:
    captions, number = raw["captions"], raw["class"]
    if not isinstance(captions, list) or not isinstance(number, int):
        raise ValueError("an image without captions or class")
    return Captions(str(raw["key"]), number, str(raw["name"]), tuple(map(str, captions)))
