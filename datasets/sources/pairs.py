"""Read images with a text file beside each, in folders of any depth.

SOURCE/**/<name>.jpg, .png, .webp, …
SOURCE/**/<name>.txt or <name>.caption     its captions, one a line

A folder train/, validation/ or test/ directly in SOURCE is a split. Folders of kohya's trainers such as 10_cat/, which
repeat their images ten times an epoch, are read once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from datasets.sources.folder import name_of
from datasets.sources.options import PackOptions
from datasets.sources.place import Folder, asked_of_each, glance, is_image, kind, walk
from datasets.sources.records import (
    SPLITS,
    Entries,
    Entry,
    Note,
    PathImage,
    Reader,
    Recognition,
    Record,
    Rejection,
    Source,
    SourceError,
    key_of,
    readers,
    split_of,
)
from datasets.sources.rows import captions_of
from datasets.sources.texts import text_lines, unreadable

__all__ = ["read", "recognise"]

_SUFFIXES = (".txt", ".caption")
_REPEATS = re.compile(r"\d+_.+")


def read(source: Path, options: PackOptions | None = None) -> Source:
    """The records of SOURCE in the order of the names. Raises SourceError."""
    options = options or PackOptions()
    if kind(source) != "folder":
        raise SourceError(f"{source}: not a folder; expected one of NAME.jpg with NAME.txt beside each")
    return Source(name_of(source), Entries(partial(_entries, source, options)))


def _entries(source: Path, options: PackOptions) -> Iterator[Entry]:
    lonely = 0
    said: set[str] = set()
    try:
        for folder in walk(source):
            if (name := folder.name.rsplit("/", 1)[-1]) and _REPEATS.fullmatch(name) and "repeats" not in said:
                said.add("repeats")
                yield Note(f"the repeats of folders such as {name} (kohya's) are ignored: an image is packed once")
            texts = {file for file in folder.files if file.endswith(_SUFFIXES)}
            stems = {file.rsplit(".", 1)[0] for file in folder.files if is_image(file)}
            if "both" not in said and (both := next((s for s in stems if {s + t for t in _SUFFIXES} <= texts), "")):
                said.add("both")
                yield Note(f"where an image has a .txt and a .caption, such as {both}, the .txt is read")
            lonely += sum(text.rsplit(".", 1)[0] not in stems for text in texts)
            yield from _of_folder(folder, texts, options)
    except OSError as error:
        raise unreadable(source, error) from error
    if lonely:
        yield Note(f"{lonely} text files have no image beside them and are not read")


def _of_folder(folder: Folder, texts: set[str], options: PackOptions) -> Iterator[Entry]:
    images = (file for file in folder.files if is_image(file))
    for entries in asked_of_each(folder.path, partial(_of_image, folder, texts, options), images):
        yield from entries


def _of_image(folder: Folder, texts: set[str], options: PackOptions, file: str) -> list[Entry]:
    image = PathImage(folder.path / file)
    stem = file.rsplit(".", 1)[0]
    text = next((stem + suffix for suffix in _SUFFIXES if stem + suffix in texts), None)
    if text is None:
        return [Rejection(image.name, f"no caption: neither {stem}.txt nor {stem}.caption is beside it")]
    try:
        lines = text_lines(folder.path / text, "captions, one a line", options.encoding)
    except SourceError as error:
        return [Rejection(image.name, str(error))]
    captions, rejected = captions_of(image.name, list(lines))
    top = folder.name.split("/")[0]
    split = split_of(top) if top.casefold() in SPLITS else ""
    return [*rejected, Record(key_of(folder.relative(file)), image, tuple(captions), split)]


def recognise(source: Path) -> Recognition:
    alone = ""
    for folder, files in _some_folders(source):
        for image in list(filter(is_image, files))[:10]:
            name = f"{folder}/{image}" if folder else image
            stem = name.rsplit(".", 1)[0]
            if texts := [stem + suffix for suffix in _SUFFIXES if kind(source / (stem + suffix)) == "file"]:
                return Recognition(found=f"{texts[0]} is beside {image}")
            alone = alone or f"{name} is there, {stem.rsplit('/', 1)[-1]}.txt or .caption beside it is missing"
    return Recognition(missing=alone)


def _some_folders(source: Path) -> Iterator[tuple[str, list[str]]]:
    """The files of SOURCE and of a few folders below it, two deep."""
    files, folders = glance(source)
    yield "", files
    for folder in folders[:10]:
        files, below = glance(source / folder)
        yield folder, files
        for name in below[:3]:
            yield f"{folder}/{name}", glance(source / folder / name)[0]


readers.register("pairs", Reader(read, recognise))
