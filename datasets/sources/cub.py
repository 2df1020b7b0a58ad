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

from datasets.documents import exists
from datasets.sources.records import (
    LocalImage,
    Record,
    Rejection,
    Source,
    SourceError,
    box_of,
    key_of,
    readers,
    text_lines,
)
from datasets.sources.released import Released, read_released

__all__ = ["read"]

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
    class_ids = {folder: i for i, folder in enumerate(sorted({stem.split("/")[0] for stem in paths}))}
    texts = source / "text"
    if not texts.is_dir() and not released.captions:
        raise SourceError(f"{texts}: not found; expected {_LAYOUT}")
    records = []
    for stem, split in splits.items():
        if stem not in paths:
            raise SourceError(f"{source / split / 'filenames.pickle'}: {stem} is not in {root / 'images.txt'}")
        number, path = paths[stem]
        if number not in boxes:
            raise SourceError(f"{root / 'bounding_boxes.txt'}: no box for image {number} ({path})")
        class_id = released.classes.get(stem, class_ids[stem.split("/")[0]])
        captions = _captions(texts / f"{stem}.txt", released, stem, encoding)
        image = LocalImage(root / "images" / path)
        records.append(Record(key_of(path), split, image, boxes[number], captions, class_id, stem.split("/")[0]))
    twice = tuple(Rejection(stem, "named twice in filenames.pickle") for stem in released.twice)
    return Source(name, tuple(records), released.vocabulary, twice)


def _captions(path: Path, released: Released, stem: str, encoding: str) -> tuple[str, ...]:
    """The captions of one image; none where its file is missing, which rejects the image alone."""
    if exists(path):
        return tuple(line.strip() for line in text_lines(path, _LAYOUT, encoding) if line.strip())
    return released.captions.get(stem, ())


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


def _box(path: Path, row: list[str]) -> tuple[float, float, float, float]:
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


readers.register("cub", lambda source, options: read(source, encoding=options.encoding))
