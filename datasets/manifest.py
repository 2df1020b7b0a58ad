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
from itertools import accumulate, pairwise
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from datasets import storage
from datasets.documents import first_problem
from datasets.errors import UserError
from datasets.vocabulary import Vocabulary

__all__ = [
    "SPLIT_NAMES",
    "Captions",
    "Manifest",
    "ManifestError",
    "Shard",
    "Split",
    "SplitCaptions",
    "check_shards",
    "load_captions",
    "load_manifest",
    "well_formed",
]


FORMAT = "dmgan-dataset-3"  # 1 had the words' numbers in the shards, 2 words of ASCII letters alone


class ManifestError(UserError):
    """A dataset's manifest or vocabulary is missing or not what it should be; one line."""


_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Shard:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    sha256: str
    size: int  # bytes
    offsets: tuple[int, ...]  # byte at which each sample's first tar header starts
    crc32: tuple[int, ...]  # of each sample's bytes, to the next one's start or the shard's end

    @property
    def samples(self) -> int:
        return len(self.offsets)

    def span(self, first: int, last: int) -> tuple[int, int]:
        """The bytes [start, end) that hold the samples [first, last)."""
        return self.offsets[first], self.offsets[last] if last < self.samples else self.size

    def problem(self) -> str | None:
        """What cannot be, if anything."""
        if not self.name or "/" in self.name:
            return f"shard {self.name!r}: expected the name of a file beside the manifest"
        rising = all(a < b for a, b in pairwise((*self.offsets, self.size)))
        if not self.offsets or self.offsets[0] < 0 or not rising or len(self.crc32) != len(self.offsets):
            return f"shard {self.name}: its offsets, size and checksums do not fit together"
        return None


@dataclass(frozen=True)
class Split:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    samples: int
    captions: int
    classes: int
    shards: tuple[Shard, ...]
    captions_sha256: str  # of <split>-captions.json

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The position in the split of each shard's first sample."""
        return tuple(accumulate((shard.samples for shard in self.shards[:-1]), initial=0))

    def problem(self) -> str | None:
        """What cannot be, if anything."""
        if found := next(filter(None, (shard.problem() for shard in self.shards)), None):
            return found
        there = sum(shard.samples for shard in self.shards)
        if there != self.samples or not self.samples:
            return f"its shards hold {there} samples, not {self.samples}"
        if not 1 <= self.classes <= self.samples <= self.captions:
            return f"{self.captions} captions and {self.classes} classes of {self.samples} images cannot be"
        return None


@dataclass(frozen=True)
class Manifest:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    stored_size: int  # pixels of the stored images' shorter side
    resolution: int  # pixels a side of the images given to training
    vocabulary_size: int
    vocabulary_sha256: str
    source_sha256: str  # of what was packed and how: the same again is the same dataset
    rejected: int = 0  # lines of rejected.jsonl
    notes: tuple[str, ...] = ()  # what was decided at packing, one line each
    splits: dict[str, Split] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Raises ValueError where it is not what `to_json` wrote."""
        raw = json.loads(text)
        if not isinstance(raw, dict) or (found := raw.pop("format", None)) is None:
            raise ValueError("names no format")
        if found != FORMAT:
            raise ValueError(f"its format is {found}, expected {FORMAT}: pack the dataset again")
        try:
            manifest: Manifest = _MANIFEST.validate_json(json.dumps(raw))
        except ValidationError as error:
            raise ValueError(first_problem(error)) from None
        if not manifest.splits:
            raise ValueError("has no splits")
        for name, split in manifest.splits.items():
            if problem := split.problem():
                raise ValueError(f"split {name}: {problem}")
        if not 16 <= manifest.resolution <= manifest.stored_size:
            raise ValueError(f"images of {manifest.resolution} pixels out of stored ones of {manifest.stored_size}")
        return manifest

    def split(self, name: str) -> Split:
        if name not in self.splits:
            raise ManifestError(
                f"{self.name}: has no {SPLIT_NAMES.get(name, name)} images, the dataset has {', '.join(self.splits)}; "
                f"pack it again with images of the split {name}"
            )
        return self.splits[name]


SPLIT_NAMES = {"train": "training", "test": "test", "validation": "validation"}
_MANIFEST = TypeAdapter(Manifest)


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
        vocabulary = Vocabulary.from_json(words)
        if len(vocabulary) != manifest.vocabulary_size:
            raise ValueError(f"{len(vocabulary)} words, the manifest says {manifest.vocabulary_size}")
        return manifest, vocabulary


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


@dataclass(frozen=True)
class Captions:
    """One image's captions."""

    key: str
    class_id: int
    captions: tuple[str, ...]


@dataclass(frozen=True)
class SplitCaptions:
    """<split>-captions.json: the captions of all images of a split in stored order, and the names of their classes."""

    images: list[Captions]
    class_names: dict[int, str]

    def to_json(self) -> bytes:
        images = [[entry.key, entry.class_id, entry.captions] for entry in self.images]
        return json.dumps({"classes": self.class_names, "images": images}).encode()

    @classmethod
    def from_json(cls, content: bytes) -> SplitCaptions:
        raw = json.loads(content)
        images = [Captions(str(key), int(number), tuple(map(str, texts))) for key, number, texts in raw["images"]]
        return cls(images, {int(number): str(name) for number, name in raw["classes"].items()})


def load_captions(url: str, split: str, manifest: Manifest | None = None) -> SplitCaptions:
    """The captions of a split, held to the checksum of the manifest, which is read where it is not given.

    Raises ManifestError, StorageError.
    """
    expected = (manifest or load_manifest(url)[0]).split(split).captions_sha256
    location = storage.join(url, f"{split}-captions.json")
    if not storage.exists(location):
        raise ManifestError(f"{location}: not found; pack the dataset again")
    content = storage.read_bytes(location)
    if hashlib.sha256(content).hexdigest() != expected:
        raise ManifestError(f"{location}: has another checksum than the manifest's: it was damaged or changed")
    with well_formed(location, "a list of captions"):
        return SplitCaptions.from_json(content)
