"""What every reader of a source gives: captioned images, and what could not be one."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeGuard

from PIL import Image

from datasets.errors import UserError
from datasets.registry import Registry
from datasets.sources.options import PackOptions
from datasets.vocabulary import Vocabulary

__all__ = [
    "ImageFile",
    "Listed",
    "LocalImage",
    "MemoryImage",
    "Reader",
    "Record",
    "Rejection",
    "Source",
    "SourceError",
    "box_of",
    "crop_to_box",
    "is_text",
    "key_of",
    "list_records",
    "readers",
    "split_of",
    "text_lines",
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
        """Raises OSError."""


@dataclass(frozen=True)
class LocalImage:
    """A file."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except (OSError, ValueError):
            return -1  # it will be rejected

    def open(self) -> BinaryIO:
        return self.path.open("rb")


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
    split: str  # train, test or validation
    image: ImageFile
    box: tuple[float, float, float, float] | None  # x, y, width, height in pixels
    captions: tuple[str, ...]
    class_id: int
    class_name: str = ""  # for people; that of the key's folder or the number where it is empty
    upright: bool = False  # turn the image as its EXIF orientation says


@dataclass(frozen=True)
class Rejection:
    """An image, or one of its captions, that is left out, and why."""

    image: str
    reason: str
    caption: str | None = None


@dataclass(frozen=True)
class Source:
    """A source read: its records in order, and the words' numbers where the source fixes them.

    Records may be made as they are asked for; a rejection among them is one of `rejected`.
    """

    name: str
    records: Iterable[Record | Rejection]
    vocabulary: Vocabulary | None = None
    rejected: tuple[Rejection, ...] = field(default=())


@dataclass(frozen=True)
class Listed:
    """A source whose records are all there."""

    name: str
    records: tuple[Record, ...]
    vocabulary: Vocabulary | None
    rejected: tuple[Rejection, ...]


def list_records(source: Source) -> Listed:
    """The source with its records made."""
    entries = list(source.records)
    return Listed(
        source.name,
        tuple(entry for entry in entries if isinstance(entry, Record)),
        source.vocabulary,
        (*source.rejected, *(entry for entry in entries if isinstance(entry, Rejection))),
    )


Reader = Callable[[Path, PackOptions], Source]  # of a source; raises SourceError

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


SPLITS = {
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


def text_lines(path: Path, expected: str, encoding: str = "utf-8") -> list[str]:
    """The lines of a text file of the source, in UTF-8 or what `encoding` or its first bytes say.

    Raises SourceError that says what was `expected`.
    """
    try:
        if not path.is_file() and path.exists():  # reading a pipe or a device would wait for ever
            raise SourceError(f"{path}: not a file; expected {expected}")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"{path}: not found; expected {expected}") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif content.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding).split("\n")  # not at U+2028, which JSON allows
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"{path}, line {line}: not {encoding.upper()} (byte 0x{content[error.start]:02x}); store it as UTF-8, or "
            "say what it is, such as --set encoding=cp1252"
        ) from None


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
