"""Read CUB-200-2011 with its text-to-image captions, from the folders people have.

SOURCE/CUB_200_2011/images.txt            "<number> <class>/<name>.jpg"
SOURCE/CUB_200_2011/bounding_boxes.txt    "<number> <x> <y> <width> <height>"
SOURCE/CUB_200_2011/images/<class>/<name>.jpg
SOURCE/text/<class>/<name>.txt            captions, one a line
SOURCE/trainvalclasses.txt, testclasses.txt    the split by disjoint classes

Where the authors' pickles are there (`sources.released`), they give the split, the order, the classes and the words'
numbers, so that released encoders read what they were trained on; without text/, the captions too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datasets.sources.place import asked_of_each, glance, kind
from datasets.sources.records import (
    Entries,
    Entry,
    PathImage,
    Reader,
    Recognition,
    Record,
    Rejection,
    Source,
    SourceError,
    box_of,
    key_of,
    readers,
)
from datasets.sources.released import Released, read_released
from datasets.sources.rows import Box
from datasets.sources.texts import text_lines, texts_of

__all__ = ["read", "recognise"]

_LAYOUT = "CUB-200-2011's layout with captions under text/"


def read(source: Path, name: str = "CUB-200-2011", encoding: str = "utf-8") -> Source:
    """The records of SOURCE in the order of filenames.pickle or else images.txt. Raises SourceError."""
    root = source / "CUB_200_2011"
    paths: dict[str, tuple[str, str]] = {}  # <class>/<name> → number, path
    for number, path in _rows(root / "images.txt", 2):
        if path.count("/") != 1 or ".." in path.split("/") or path.startswith("/"):
            raise SourceError(f"{root / 'images.txt'}: expected <class>/<name>.jpg for image {number}, found {path}")
        paths[path.rsplit(".", 1)[0]] = (number, path)
    boxes = {row[0]: _box(root / "bounding_boxes.txt", row) for row in _rows(root / "bounding_boxes.txt", 5)}
    released = read_released(source)
    splits = released.names or _by_class(source, paths)
    if kind(source / "text") != "folder" and not released.captions:
        raise SourceError(f"{source / 'text'}: not found; expected {_LAYOUT}")
    for stem, split in splits.items():
        if stem not in paths:
            raise SourceError(f"{source / split / 'filenames.pickle'}: {stem} is not in {root / 'images.txt'}")
        number, path = paths[stem]
        if number not in boxes:
            raise SourceError(f"{root / 'bounding_boxes.txt'}: no box for image {number} ({path})")

    def record(stem: str) -> Record:
        number, path = paths[stem]
        return _record(source, path, splits[stem], boxes[number], released, encoding)

    def entries() -> Iterator[Entry]:
        for stem in released.twice:
            yield Rejection(stem, "named twice in filenames.pickle")
        yield from asked_of_each(source, record, splits)

    return Source(name, Entries(entries), vocabulary=released.vocabulary)


def _record(source: Path, path: str, split: str, box: Box, released: Released, encoding: str) -> Record:
    stem = path.rsplit(".", 1)[0]
    return Record(
        key=key_of(path),
        image=PathImage(source / "CUB_200_2011" / "images" / path),
        # None where its file is missing, which rejects the image alone.
        captions=texts_of(source / "text" / f"{stem}.txt", _LAYOUT, encoding) or released.captions.get(stem, ()),
        split=split,
        class_name=stem.split("/")[0],
        class_id=released.classes.get(stem),
        box=box,
        upright=False,  # the box is in the stored pixels
    )


def _by_class(source: Path, stems: dict[str, tuple[str, str]]) -> dict[str, str]:
    """The split of every image by its class, in the order of images.txt."""
    classes = {name: "train" for (name,) in _rows(source / "trainvalclasses.txt", 1)}
    for (name,) in _rows(source / "testclasses.txt", 1):
        if classes.setdefault(name, "test") != "test":
            raise SourceError(f"{source / 'testclasses.txt'}: class {name} is in trainvalclasses.txt too")
    for stem in stems:
        if (folder := stem.split("/")[0]) not in classes:
            raise SourceError(f"{source}: class {folder} is in neither trainvalclasses.txt nor testclasses.txt")
    return {stem: classes[stem.split("/")[0]] for stem in stems}


def _box(path: Path, row: list[str]) -> Box:
    try:
        return box_of(row[1:])
    except ValueError as error:
        raise SourceError(f"{path}: image {row[0]}: {error}") from None


def _rows(path: Path, columns: int) -> Iterator[list[str]]:
    for i, line in enumerate(text_lines(path, _LAYOUT), start=1):
        row = line.split()
        if not row:
            continue
        if len(row) != columns:
            raise SourceError(f"{path}, line {i}: expected {columns} columns, found {len(row)}")
        yield row


def recognise(source: Path) -> Recognition:
    if not kind(source / "CUB_200_2011" / "images.txt"):
        if kind(source / "images.txt") and kind(source / "bounding_boxes.txt"):
            return Recognition(
                missing="images.txt is there; SOURCE is the folder above CUB_200_2011, which has text/ too"
            )
        return Recognition()
    files, folders = glance(source)
    missing = []
    if "text" not in folders and "captions.pickle" not in files:
        missing.append("text/ with the captions")
    if not {"trainvalclasses.txt", "testclasses.txt"} <= set(files) and "train" not in folders:
        missing.append("trainvalclasses.txt and testclasses.txt, or train/filenames.pickle and test/filenames.pickle")
    if missing:
        return Recognition(missing=f"CUB_200_2011/images.txt is there, {' and '.join(missing)} is missing")
    return Recognition(found="CUB_200_2011/images.txt is there, with captions and splits")


readers.register("cub", Reader(lambda source, options: read(source, encoding=options.encoding), recognise))
