"""The pickles that come with the authors' preprocessed data: split, order, classes and the words' numbers.

SOURCE/train/filenames.pickle, SOURCE/test/filenames.pickle       names of the images in order
SOURCE/train/class_info.pickle, SOURCE/test/class_info.pickle     their classes' numbers
SOURCE/captions.pickle          [train captions, test captions, number → word, word → number]
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import storage
from datasets.sources.pickles import PickleError, read_plain_pickle
from datasets.sources.place import kind, read_bytes
from datasets.sources.records import SourceError
from datasets.sources.texts import unreadable
from datasets.vocabulary import Vocabulary

__all__ = ["Released", "read_captions_pickle", "read_released"]

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Released:
    """What the pickles that are there say; empty where one is missing."""

    names: dict[str, str] = field(default_factory=dict)  # name → split, in order
    classes: dict[str, int] = field(default_factory=dict)  # name → class number
    captions: dict[str, tuple[str, ...]] = field(default_factory=dict)  # name → captions, from their words' numbers
    vocabulary: Vocabulary | None = None
    twice: tuple[str, ...] = ()  # names listed more than once in a split


def read_released(source: Path) -> Released:
    """The pickles under `source`. Raises SourceError where they are damaged or contradict one another."""
    captions_file = source / "captions.pickle"
    try:
        numbered, vocabulary = read_captions_pickle(str(captions_file)) if kind(captions_file) else ({}, None)
        names: dict[str, str] = {}
        classes: dict[str, int] = {}
        captions: dict[str, tuple[str, ...]] = {}
        twice: list[str] = []
        for split in SPLITS:
            listed = _list_of(source / split / "filenames.pickle", str)
            if outside := [name for name in listed if name.startswith("/") or ".." in name.split("/")]:
                raise SourceError(f"{source / split / 'filenames.pickle'}: {outside[0]!r} is outside the folder")
            numbers = _list_of(source / split / "class_info.pickle", int)
            if numbers and len(numbers) != len(listed):
                raise SourceError(
                    f"{source / split / 'class_info.pickle'}: has {len(numbers)} classes for {len(listed)} names"
                )
            if overlap := names.keys() & set(listed):
                raise SourceError(f"{source}: {min(overlap)} is in both splits' filenames.pickle")
            names |= dict.fromkeys(listed, split)
            twice += [name for name, times in Counter(listed).items() if times > 1]
            classes |= dict(zip(listed, numbers, strict=bool(numbers)))
            if vocabulary is not None and listed:
                captions |= dict(zip(listed, _texts(numbered[split], vocabulary, len(listed), source), strict=True))
    except PickleError as error:
        raise SourceError(str(error)) from error
    return Released(names, classes, captions, vocabulary, tuple(twice))


def read_captions_pickle(url: str) -> tuple[dict[str, list[list[int]]], Vocabulary]:
    """Each split's captions as numbers, the images' one after the other, and the words. Raises PickleError."""
    data = read_plain_pickle(storage.read_bytes(url), url)
    words = data[2] if isinstance(data, list) and len(data) == 4 else None
    lists = isinstance(data, list) and all(isinstance(part, list) for part in data[:2])
    if not lists or not isinstance(words, dict) or set(words) != set(range(len(words))):
        raise PickleError(f"{url}: expected [train captions, test captions, number → word, word → number]")
    vocabulary = Vocabulary(tuple(str(words[i]) for i in range(len(words))), released=True)
    return dict(zip(SPLITS, data[:2], strict=True)), vocabulary


def _list_of(path: Path, kind: type) -> list[Any]:
    try:
        content = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(path, error) from error
    values = read_plain_pickle(content, str(path))
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise PickleError(f"{path}: expected a list of {kind.__name__}")
    return values


def _texts(numbered: list[list[int]], words: Vocabulary, images: int, source: Path) -> list[tuple[str, ...]]:
    """The captions of each image; every image has equally many."""
    if images == 0 or len(numbered) % images:
        raise SourceError(f"{source / 'captions.pickle'}: its {len(numbered)} captions are not of {images} images")
    each = len(numbered) // images
    try:
        texts = [" ".join(words.decode(numbers)) for numbers in numbered]
    except (IndexError, TypeError):
        raise SourceError(f"{source / 'captions.pickle'}: its captions are not numbers of its words") from None
    return [tuple(texts[i * each : (i + 1) * each]) for i in range(images)]
