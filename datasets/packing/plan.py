"""What a pack will hold: the records that can be packed, as far as can be seen without their images."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from itertools import count

from datasets.manifest import SPLIT_NAMES
from datasets.packing.decisions import decide
from datasets.packing.shard_writer import Item
from datasets.sources.options import PackOptions
from datasets.sources.records import Listed, Record, Rejection
from datasets.vocabulary import Vocabulary

__all__ = ["Plan", "plan_of"]


@dataclass(frozen=True)
class Plan:
    """What is to be packed, as far as can be seen without the images."""

    name: str
    dest: str
    options: PackOptions
    vocabulary: Vocabulary
    splits: dict[str, list[Item]]  # those that have images
    rejected: list[Rejection]
    notes: tuple[str, ...]
    identity: str  # checksum of all that decides the packed bytes


def plan_of(source: Listed, dest: str, options: PackOptions) -> Plan:
    """What of a source is packed to `dest`."""
    vocabulary = source.vocabulary or Vocabulary.build(c for record in source.records for c in record.captions)
    records, rejected = _accept(source, vocabulary)
    records, notes = decide(records)
    if unknown := Counter(word for record in records for text in record.captions for word in vocabulary.unknown(text)):
        common = ", ".join(word for word, _ in unknown.most_common(5))
        notes += (
            f"{unknown.total()} words of the captions are not in the source's vocabulary and left out, {len(unknown)} "
            f"different ones, such as {common}",
        )
    splits: dict[str, list[Item]] = {}
    for record in records:
        items = splits.setdefault(record.split, [])
        items.append(Item(record, len(items)))
    ordered = {split: splits[split] for split in SPLIT_NAMES if split in splits}
    identity = _identity(source, options, vocabulary)
    return Plan(source.name, dest, options, vocabulary, ordered, rejected, notes, identity)


def _accept(source: Listed, vocabulary: Vocabulary) -> tuple[list[Record], list[Rejection]]:
    """The records that can be packed as far as can be seen without their images."""
    rejected = list(source.rejected)
    accepted: list[Record] = []
    images: set[str] = set()
    keys: set[str] = set()
    for record in source.records:
        name = record.image.name
        if name in images:
            rejected.append(Rejection(name, "the image is named twice"))
            continue
        images.add(name)
        kept = tuple(text for text in record.captions if vocabulary.encode(text))
        rejected += [
            Rejection(name, "the caption has no known word", text) for text in record.captions if text not in kept
        ]
        if not kept:
            rejected.append(Rejection(name, "no caption"))
            continue
        key = _new_key(record.key, name, keys)
        keys.add(key)
        accepted.append(replace(record, key=key, captions=kept))
    return accepted, rejected


def _new_key(key: str, name: str, taken: set[str]) -> str:
    """The key, or one that tells a.png from a.jpg where that is taken."""
    if key not in taken:
        return key
    suffix = name.rpartition(".")[2]
    return next(other for n in count(1) if (other := f"{key}_{suffix}" + (f"_{n}" if n > 1 else "")) not in taken)


def _identity(source: Listed, options: PackOptions, vocabulary: Vocabulary) -> str:
    """A checksum of all that decides the packed bytes; of the photographs, their names and sizes."""
    digest = hashlib.sha256(vocabulary.to_json().encode())
    digest.update(options.model_dump_json(include={"resolution", "quality", "shard_samples", "background"}).encode())
    for record in source.records:
        identity = {**record.__dict__, "image": record.image.name.rsplit("/", 1)[-1], "size": record.image.size}
        digest.update(json.dumps(identity).encode())
    return digest.hexdigest()
