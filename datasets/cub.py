"""Read CUB-200-2011 with its text-to-image captions, from the folders people have.

SOURCE/CUB_200_2011/images.txt            "<number> <class>/<name>.jpg"
SOURCE/CUB_200_2011/bounding_boxes.txt    "<number> <x> <y> <width> <height>"
SOURCE/CUB_200_2011/images/<class>/<name>.jpg
SOURCE/text/<class>/<name>.txt            captions, one a line
SOURCE/trainvalclasses.txt, testclasses.txt    the split by disjoint classes
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

__all__ = ["Record", "SourceError", "crop_to_box", "read"]


class SourceError(Exception):
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


def read(source: Path) -> Iterator[Record]:
    """The records of SOURCE in the order of images.txt. Raises SourceError."""
    root = source / "CUB_200_2011"
    paths = dict(_rows(root / "images.txt", 2))
    boxes = {row[0]: _box(root / "bounding_boxes.txt", row) for row in _rows(root / "bounding_boxes.txt", 5)}
    splits = {name: "train" for (name,) in _rows(source / "trainvalclasses.txt", 1)}
    for (name,) in _rows(source / "testclasses.txt", 1):
        if splits.setdefault(name, "test") != "test":
            raise SourceError(f"{source / 'testclasses.txt'}: class {name} is in trainvalclasses.txt too")
    class_ids = {name: i for i, name in enumerate(sorted({p.split("/")[0] for p in paths.values()}))}
    for number, path in paths.items():
        if path.count("/") != 1:
            raise SourceError(f"{root / 'images.txt'}: expected <class>/<name>.jpg for image {number}, found {path}")
        folder, name = path.split("/")
        if folder not in splits:
            raise SourceError(f"{source}: class {folder} is in neither trainvalclasses.txt nor testclasses.txt")
        if number not in boxes:
            raise SourceError(f"{root / 'bounding_boxes.txt'}: no box for image {number} ({path})")
        text = source / "text" / folder / (name.rsplit(".", 1)[0] + ".txt")
        captions = tuple(line.strip() for line in _lines(text) if line.strip())
        x, y, width, height = boxes[number]
        yield Record(
            key=f"{folder}/{name.rsplit('.', 1)[0]}".replace(".", "_"),
            split=splits[folder],
            image=root / "images" / path,
            box=(x, y, width, height),
            captions=captions,
            class_id=class_ids[folder],
        )


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


def _box(path: Path, row: list[str]) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in row[1:])
    except ValueError:
        raise SourceError(f"{path}: expected four numbers for image {row[0]}, found {' '.join(row[1:])}") from None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"{path}: not found; expected CUB-200-2011's layout with captions under text/") from None


def _rows(path: Path, columns: int) -> Iterator[list[str]]:
    for i, line in enumerate(_lines(path), start=1):
        row = line.split()
        if not row:
            continue
        if len(row) != columns:
            raise SourceError(f"{path}, line {i}: expected {columns} columns, found {len(row)}")
        yield row
