"""What every reader of a source gives: captioned images, and what could not be one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from datasets.errors import UserError
from datasets.vocabulary import Vocabulary

__all__ = ["Record", "Rejection", "Source", "SourceError", "box_of", "key_of", "text_lines"]


class SourceError(UserError):
    """The source folder is not what the reader expects; one line naming the file."""


@dataclass(frozen=True)
class Record:
    """One captioned image of a source."""

    key: str
    split: str  # train or test
    image: Path
    box: tuple[float, float, float, float] | None  # x, y, width, height in pixels
    captions: tuple[str, ...]
    class_id: int
    upright: bool = False  # turn the image as its EXIF orientation says


@dataclass(frozen=True)
class Rejection:
    """An image, or one of its captions, that is left out, and why."""

    image: str
    reason: str
    caption: str | None = None


@dataclass(frozen=True)
class Source:
    """A source read: its records in order, and the words' numbers where the source fixes them."""

    name: str
    records: tuple[Record, ...]
    vocabulary: Vocabulary | None = None
    rejected: tuple[Rejection, ...] = field(default=())


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


def text_lines(path: Path, expected: str) -> list[str]:
    """The lines of a text file of the source. Raises SourceError that says what was `expected`."""
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace").split("\n")  # not at U+2028, which JSON allows
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"{path}: not found; expected {expected}") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error})") from error
