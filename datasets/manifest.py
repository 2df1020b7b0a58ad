"""The manifest of a packed dataset: what is there, how much, and its checksums.

DEST/manifest.json                     counts, notes and checksums
DEST/<split>-shards.npy                a row a shard: its samples, bytes and checksums
DEST/<split>-000000.tar                WebDataset shards: <key>.jpg and <key>.json for every sample
DEST/<split>-000000.index.npy          where each sample of the shard starts, and its checksum
DEST/<split>-000000.captions.jsonl     keys, classes and captions of the shard, without its images
DEST/vocabulary.json                   the words, numbered over all splits
DEST/rejected.jsonl                    what of the source is not in it, and why

Whoever reads a dataset of any size starts with the first two; the rest is read shard by shard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from datasets import storage
from datasets.documents import first_problem
from datasets.errors import UserError
from datasets.shard_table import Shard, ShardTable
from datasets.vocabulary import Vocabulary

__all__ = [
    "SPLIT_NAMES",
    "Manifest",
    "ManifestError",
    "Shard",
    "ShardTable",
    "Split",
    "check_shards",
    "load_manifest",
    "well_formed",
    "write_manifest",
]


# 1 had the words' numbers in the shards, 2 words of ASCII letters alone, 3 all samples' places in the manifest
FORMAT = "dmgan-dataset-4"
SPLIT_NAMES = {"train": "training", "test": "test", "validation": "validation"}
_STRICT = ConfigDict(extra="forbid", strict=True)


class ManifestError(UserError):
    """A dataset's manifest, or a file beside it, is missing or not what it should be; one line."""


@dataclass(frozen=True)
class Split:
    samples: int
    captions: int
    classes: int
    shards: ShardTable

    @property
    def size(self) -> int:
        """Bytes of the shards."""
        return int(self.shards.rows["size"].sum())

    @cached_property
    def sha256(self) -> str:
        """A checksum of all that is stored."""
        return hashlib.sha256(self.shards.rows.tobytes()).hexdigest()

    @cached_property
    def captions_sha256(self) -> str:
        """A checksum of the images' classes and captions."""
        return hashlib.sha256(self.shards.rows["captions_sha256"].tobytes()).hexdigest()

    @cached_property
    def starts(self) -> np.ndarray:
        """The position in the split of each shard's first sample, int64 (shards,)."""
        samples = self.shards.rows["samples"].astype(np.int64)
        return np.cumsum(samples) - samples

    def problem(self) -> str | None:
        """What cannot be, if anything."""
        there = int(self.shards.rows["samples"].sum())
        if there != self.samples or not self.samples:
            return f"its shards hold {there} samples, not {self.samples}"
        if not 1 <= self.classes <= self.samples <= self.captions:
            return f"{self.captions} captions and {self.classes} classes of {self.samples} images cannot be"
        return None


@dataclass(frozen=True)
class _SplitEntry:
    """A split as manifest.json has it."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    samples: int
    captions: int
    classes: int
    shards_sha256: str


@dataclass(frozen=True)
class _Document:
    """manifest.json without its format."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    stored_size: int
    resolution: int
    fit: str
    vocabulary_size: int
    vocabulary_sha256: str
    source_sha256: str
    rejected: int
    notes: tuple[str, ...]
    splits: dict[str, _SplitEntry]


_DOCUMENT = TypeAdapter(_Document)
_PLAIN = [entry.name for entry in fields(_Document) if entry.name != "splits"]  # what a Manifest has alike


@dataclass(frozen=True)
class Manifest:
    name: str
    stored_size: int  # pixels of the stored images' shorter side
    resolution: int  # pixels a side of the images given to training
    vocabulary_size: int
    vocabulary_sha256: str
    source_sha256: str  # of what was packed and how: the same again is the same dataset
    fit: str = "crop"  # how images that are no squares were stored
    rejected: int = 0  # lines of rejected.jsonl
    notes: tuple[str, ...] = ()  # what was found and decided at packing, one line each
    splits: dict[str, Split] = field(default_factory=dict)

    def split(self, name: str) -> Split:
        if name not in self.splits:
            raise ManifestError(
                f"{self.name}: has no {SPLIT_NAMES.get(name, name)} images, the dataset has {', '.join(self.splits)}; "
                f"pack it again with images of the split {name}"
            )
        return self.splits[name]


def write_manifest(url: str, manifest: Manifest) -> None:
    """Write the shards' tables and then manifest.json, which announces the dataset."""
    entries = {}
    for name, split in manifest.splits.items():
        table = split.shards.to_bytes()
        storage.write_bytes(storage.join(url, f"{name}-shards.npy"), table)
        sha256 = hashlib.sha256(table).hexdigest()
        entries[name] = _SplitEntry(split.samples, split.captions, split.classes, sha256)
    document = _Document(**{key: getattr(manifest, key) for key in _PLAIN}, splits=entries)
    tree = {"format": FORMAT, **_DOCUMENT.dump_python(document, mode="json")}
    storage.write_bytes(storage.join(url, "manifest.json"), json.dumps(tree, indent=1, ensure_ascii=False).encode())


def load_manifest(url: str) -> tuple[Manifest, Vocabulary]:
    """The manifest and vocabulary of the packed dataset at `url`.

    Raises ManifestError where there is none or it does not parse, StorageError where storage cannot be reached.
    """
    location = storage.join(url, "manifest.json")
    if not storage.exists(location):
        raise ManifestError(f"{location}: not found; pack the dataset first: python -m datasets.pack … {url}")
    with well_formed(location, "a dataset manifest"):
        document = _parse(storage.read_bytes(location))
    splits = {name: _split(url, name, entry) for name, entry in document.splits.items()}
    manifest = Manifest(**{key: getattr(document, key) for key in _PLAIN}, splits=splits)
    with well_formed(location, "a dataset manifest"):
        for name, split in splits.items():
            if problem := split.problem():
                raise ValueError(f"split {name}: {problem}")
    location = storage.join(url, "vocabulary.json")
    words = storage.read_bytes(location)
    if hashlib.sha256(words).hexdigest() != manifest.vocabulary_sha256:
        raise ManifestError(f"{location}: is not the vocabulary that the manifest was written with (checksum)")
    with well_formed(location, "a vocabulary"):
        vocabulary = Vocabulary.from_json(words)
        if len(vocabulary) != manifest.vocabulary_size:
            raise ValueError(f"{len(vocabulary)} words, the manifest says {manifest.vocabulary_size}")
        return manifest, vocabulary


def _parse(text: bytes) -> _Document:
    """Raises ValueError where it is not what `write_manifest` wrote."""
    raw = json.loads(text)
    if not isinstance(raw, dict) or (found := raw.pop("format", None)) is None:
        raise ValueError("names no format")
    if found != FORMAT:
        raise ValueError(f"its format is {found}, expected {FORMAT}: pack the dataset again")
    try:
        document = _DOCUMENT.validate_json(json.dumps(raw))
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    if not document.splits:
        raise ValueError("has no splits")
    if unknown := document.splits.keys() - SPLIT_NAMES.keys():
        raise ValueError(f"split {min(unknown)!r}: expected one of {', '.join(SPLIT_NAMES)}")
    if not 16 <= document.resolution <= document.stored_size:
        raise ValueError(f"images of {document.resolution} pixels out of stored ones of {document.stored_size}")
    return document


def _split(url: str, name: str, entry: _SplitEntry) -> Split:
    location = storage.join(url, f"{name}-shards.npy")
    table = storage.read_bytes(location)
    if hashlib.sha256(table).hexdigest() != entry.shards_sha256:
        raise ManifestError(f"{location}: has another checksum than the manifest's: it was damaged or changed")
    with well_formed(location, "a table of shards"):
        return Split(entry.samples, entry.captions, entry.classes, ShardTable.from_bytes(name, table))


@contextmanager
def well_formed(location: str, what: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise ManifestError(f"{location}: not {what} ({said[:200]})") from error


def check_shards(url: str, manifest: Manifest) -> None:
    """Raise ManifestError if a shard the manifest names is not there or not of its size."""
    found = storage.list_sizes(url)
    for split in manifest.splits.values():
        for shard in split.shards:
            location = storage.join(url, shard.name)
            if shard.name not in found:
                raise ManifestError(
                    f"{location}: not found; the manifest names it, so it was removed or never uploaded"
                )
            if found[shard.name] != shard.size:
                raise ManifestError(f"{location}: has {found[shard.name]} bytes, the manifest says {shard.size}")
