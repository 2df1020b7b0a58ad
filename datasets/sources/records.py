"""What every reader of a source gives: captioned images, and what could not be one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeGuard

from PIL import Image

from datasets.errors import UserError
from datasets.registry import Registry
from datasets.sources.options import PackOptions
from datasets.sources.place import in_bucket, read_bytes
from datasets.vocabulary import Vocabulary

__all__ = [
    "SPLITS",
    "Entries",
    "Entry",
    "ImageFile",
    "MemoryImage",
    "Note",
    "Part",
    "PathImage",
    "Reader",
    "Recognition",
    "Record",
    "Rejection",
    "Source",
    "SourceError",
    "box_of",
    "crop_to_box",
    "is_text",
    "key_of",
    "readers",
    "records_of",
    "split_of",
]


class SourceError(UserError):
    """The source folder is not what the reader expects; one line naming the file."""


class ImageFile(Protocol):
    """An image that can be opened: a file, bytes in a tar, a cell of a table. It travels to the processes that pack."""

    @property
    def name(self) -> str:
        """For messages; with `size` it identifies the image."""

    @property
    def size(self) -> int:
        """Bytes; −1 where they cannot be told."""

    def open(self) -> BinaryIO:
        """Raises OSError, and StorageError where a bucket does not answer."""


@dataclass(frozen=True)
class PathImage:
    """A file in a folder or a bucket."""

    path: Path  # of pathlib, or universal_pathlib's for a bucket

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        if in_bucket(self.path):
            return -1  # a request each
        try:
            return self.path.stat().st_size
        except (OSError, ValueError):
            return -1  # it will be rejected

    def open(self) -> BinaryIO:
        return io.BytesIO(read_bytes(self.path)) if in_bucket(self.path) else self.path.open("rb")


@dataclass(frozen=True)
class MemoryImage:
    """An image file's bytes that were read already."""

    name: str
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


@dataclass(frozen=True)
class Record:
    """One captioned image of a source."""

    key: str
    image: ImageFile
    captions: tuple[str, ...]
    split: str = ""  # train, test or validation; empty: drawn by the key when it is packed
    class_name: str = ""  # empty: the image is a class of its own
    class_id: int | None = None  # where the source numbers its classes itself
    box: tuple[float, float, float, float] | None = None  # x, y, width, height in pixels
    upright: bool = True  # turn the image as its EXIF orientation says; a box is in the stored pixels


@dataclass(frozen=True)
class Rejection:
    """An image, or one of its captions, that is left out, and why."""

    image: str
    reason: str
    caption: str | None = None


@dataclass(frozen=True)
class Note:
    """What the reader found and decided that whoever packs should know; one line, said once."""

    text: str


Entry = Record | Rejection | Note


@dataclass(frozen=True)
class Entries:
    """Entries that are made as they are asked for, anew each time."""

    make: Callable[[], Iterator[Entry]]

    def __iter__(self) -> Iterator[Entry]:
        return self.make()


class Part(Protocol):
    """A part of a source that a process reads on its own, such as a tar. It travels to the process that packs it."""

    @property
    def name(self) -> str:
        """With `version` it identifies the part."""

    @property
    def version(self) -> str:
        """Changes with the part's content: its size, and its time or checksum."""

    def entries(self) -> Iterator[Entry]:
        """In the same order each time. Raises SourceError."""


@dataclass(frozen=True)
class Source:
    """A source read: its records, made as they are asked for and in the same order each time.

    Small ones, whose images are somewhere else, are `entries`, which the packing process asks for; containers of images
    are `parts`. The words' numbers are a `vocabulary` where the source fixes them.
    """

    name: str
    entries: Iterable[Entry] = ()
    parts: Sequence[Part] = ()
    vocabulary: Vocabulary | None = None


def records_of(source: Source) -> list[Record]:
    """All records of a source, in memory."""
    everything = chain(source.entries, *(part.entries() for part in source.parts))
    return [entry for entry in everything if isinstance(entry, Record)]


@dataclass(frozen=True)
class Recognition:
    """What of a layout is at a place. Nothing of it: both empty."""

    found: str = ""  # why it is one: what is there
    missing: str = ""  # why it is not quite one: what is there, and what is missing


def _unrecognised(_: Path) -> Recognition:
    return Recognition()


@dataclass(frozen=True)
class Reader:
    """Reads sources of one layout.

    `read(source, options)` gives the source at a folder or file (of pathlib or, in a bucket, universal_pathlib), or
    raises SourceError; `recognise(source)` looks at names alone, in seconds, and is what `datasets.pack auto` asks.
    `resolution` is that of the packed images where none is asked for; None: that of `PackOptions`.
    """

    read: Callable[[Path, PackOptions], Source]
    recognise: Callable[[Path], Recognition] = _unrecognised
    resolution: int | None = None


readers: Registry[Reader] = Registry("format", "FORMAT")


def key_of(path: str) -> str:
    """A sample's key from an image's path: without suffix and dots, which WebDataset would split at."""
    folder, separator, name = path.rpartition("/")
    return (folder + separator + (name.rsplit(".", 1)[0] or name)).replace(".", "_")


def box_of(values: Sequence[Any]) -> tuple[float, float, float, float]:
    """x, y, width, height of four numbers or their texts. Raises ValueError that says what was expected."""
    try:
        x, y, width, height = (float(value) for value in values)
        if not all(map(isfinite, (x, y, width, height))):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(f"expected x, y, width, height in pixels, found {' '.join(map(str, values))}") from None
    return x, y, width, height


SPLITS = {  # names that datasets have for train, test and validation
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
}


def split_of(name: str) -> str:
    """train, test or validation, of the names that datasets have for them. Raises ValueError."""
    if (found := SPLITS.get(name.strip().casefold())) is None:
        raise ValueError(f"split {name!r}: expected one of {', '.join(SPLITS)}")
    return found


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is a text that can be written: JSON allows halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def crop_to_box(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """Crop to the square around the box's centre of 1.5 times its larger side, cut at the borders, as released."""
    x, y, width, height = box
    reach = int(max(width, height) * 0.75)
    centre_x, centre_y = int((2 * x + width) / 2), int((2 * y + height) / 2)
    return image.crop(
        (
            max(0, centre_x - reach),
            max(0, centre_y - reach),
            min(image.width, centre_x + reach),
            min(image.height, centre_y + reach),
        )
    )
