"""Where the images are that a file of captions names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from datasets.sources.place import kind

__all__ = ["folder_of_images", "is_inside"]

_TRIED = 5  # images, of which some may be missing


def folder_of_images(source: Path, folders: Sequence[str], names: Iterable[str]) -> Path:
    """The first of `folders` under SOURCE in which one of the first images is, or else the first that is there.

    Few are looked for, since each is a request in a bucket. Raises StorageError.
    """
    there = [source / folder for folder in dict.fromkeys(folders) if kind(source / folder) == "folder"]
    first = list(islice(names, _TRIED))
    found = (folder for name in first for folder in there if kind(folder / name) == "file")
    return next(found, there[0] if there else source / folders[0])


def is_inside(name: str) -> bool:
    """Whether a path stays within the folder it is relative to."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts
