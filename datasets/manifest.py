"""The manifest of a packed dataset: what is there, how much, and its checksums.

DEST/manifest.json                 this
DEST/vocabulary.json               the words, numbered over all splits
DEST/<split>-captions.json         keys, classes and captions of a split, without its images
DEST/rejected.jsonl                what of the source is not in it, and why
DEST/<split>-000000.tar            WebDataset shards: <key>.jpg and <key>.json for every sample
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

from datasets import storage
from datasets.errors import UserError
from datasets.vocabulary import Vocabulary

__all__ = [
    "Captions",
    "Manifest",
    "ManifestError",
    "Shard",
    "Split",
    "check_shards",
    "load_captions",
    "load_manifest",
    "well_formed",
]


FORMAT = "dmgan-dataset-2"  # 1 had the words' numbers in the shards


class ManifestError(UserError):
    """A dataset's manifest or vocabulary is missing or not what it should be; one line."""


@dataclass(frozen=True)
class Shard:
    name: str
    sha256: str
    size: int  # bytes
    offsets: tuple[int, ...]  # byte at which each sample's first tar header starts
    crc32: tuple[int, ...]  # of each sample's bytes, to the next one's start or the shard's end

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Shard:
        return cls(**{**raw, "offsets": tuple(raw["offsets"]), "crc32": tuple(raw["crc32"])})

    @property
    def samples(self) -> int:
        return len(self.offsets)

    def span(self, first: int, last: int) -> tuple[int, int]:
        """The bytes [start, end) that hold the samples [first, last)."""
        return self.offsets[first], self.offsets[last] if last < self.samples else self.size


@dataclass(frozen=True)
class Split:
    samples: int
    captions: int
    classes: int
    shards: tuple[Shard, ...]
    captions_sha256: str = ""  # of <split>-captions.json

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The position in the split of each shard's first sample."""
        return tuple(accumulate((shard.samples for shard in self.shards[:-1]), initial=0))


@dataclass(frozen=True)
class Manifest:
    name: str
    stored_size: int  # pixels of the stored images' shorter side
    resolution: int  # pixels a side of the images given to training
    vocabulary_size: int
    vocabulary_sha256: str
    source_sha256: str = ""  # of what was packed and how: the same again is the same dataset
    rejected: int = 0  # lines of rejected.jsonl
    splits: dict[str, Split] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        raw = json.loads(text)
        if (found := raw.pop("format")) != FORMAT:
            raise ValueError(
                f"its format is {found}, expected {FORMAT}, whose shards hold captions as text: pack the dataset again"
            )
        raw["splits"] = {
            name: Split(**{**split, "shards": tuple(Shard.from_dict(shard) for shard in split["shards"])})
            for name, split in raw["splits"].items()
        }
        return cls(**raw)

    def split(self, name: str) -> Split:
        if name not in self.splits:
            raise ManifestError(f"{self.name}: no split {name!r}; the manifest has {', '.join(sorted(self.splits))}")
        return self.splits[name]


def load_manifest(url: str) -> tuple[Manifest, Vocabulary]:
    """The manifest and vocabulary of the packed dataset at `url`.

    Raises ManifestError where there is none or it does not parse, StorageError where storage cannot be reached.
    """
    location = storage.join(url, "manifest.json")
    if not storage.exists(location):
        raise ManifestError(f"{location}: not found; pack the dataset first: python -m datasets.pack … {url}")
    with well_formed(location, "a dataset manifest"):
        manifest = Manifest.from_json(storage.read_bytes(location))
    location = storage.join(url, "vocabulary.json")
    words = storage.read_bytes(location)
    if hashlib.sha256(words).hexdigest() != manifest.vocabulary_sha256:
        raise ManifestError(f"{location}: is not the vocabulary that the manifest was written with (checksum)")
    with well_formed(location, "a vocabulary"):
        return manifest, Vocabulary.from_json(words)


@contextmanager
def well_formed(location: str, what: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{location}: not {what} ({type(error).__name__}: {error})") from error


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


@dataclass(frozen=True)
class Captions:
    """One image's captions."""

    key: str
    class_id: int
    captions: tuple[str, ...]


def load_captions(url: str, split: str) -> list[Captions]:
    """The captions of all images of a split, in stored order. Raises ManifestError, StorageError."""
    location = storage.join(url, f"{split}-captions.json")
    if not storage.exists(location):
        raise ManifestError(f"{location}: not found; pack the dataset again")
    with well_formed(location, "a list of captions"):
        entries = json.loads(storage.read_bytes(location))
        return [Captions(key, class_id, tuple(texts)) for key, class_id, texts in entries]
