"""Read any folder of images with a table of captions.

SOURCE/captions.jsonl     {"image": "a/b.jpg", "captions": ["…", …]}, one object a line; or
SOURCE/captions.csv       columns image,caption; an image may have several rows

Optional keys or columns: split (train or test), class (any name), box (x, y, width, height in pixels; in a CSV with
spaces between). `file_name` and `text` do for image and caption, and metadata.jsonl or metadata.csv for the file, as in
other tools' image folders. Without a split, `test_share` of the images is the test split, drawn by a hash of their
names; without a class, every image is a class of its own.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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

__all__ = ["read"]

_TABLES = ("captions.jsonl", "captions.csv", "metadata.jsonl", "metadata.csv")
_NAMES = {"file_name": "image", "text": "caption", "captions": "caption"}
_COLUMNS = ("image", "caption", "split", "class", "box")


def read(source: Path, captions: str | None = None, test_share: float = 0.1) -> Source:
    """The records of SOURCE in the table's order. `captions` names the table if it has another name.

    Rows that name no image or contradict an earlier one of the same image are rejected. Raises SourceError.
    """
    table = _table(source, captions)
    rejected: list[Rejection] = []
    images: dict[str, dict[str, Any]] = {}
    for line, row in _rows(table):
        problem = _add(images, row)
        if problem:
            name = row.get("image")
            place = str(source / name) if isinstance(name, str) and name else f"{table.name}, line {line}"
            rejected.append(Rejection(place, problem))
    if not images:
        raise SourceError(f"{table}: names no image")
    class_ids = {name: i for i, name in enumerate(sorted({str(_class(name, row)) for name, row in images.items()}))}
    records = [
        Record(
            key=key_of(name),
            split=row.get("split") or _drawn_split(name, test_share),
            image=LocalImage(source / name),
            box=row.get("box"),
            captions=tuple(row["caption"]),
            class_id=class_ids[str(_class(name, row))],
            upright=row.get("box") is None,  # a box is in the stored pixels
        )
        for name, row in images.items()
    ]
    return Source(source.name or "folder", tuple(records), rejected=tuple(rejected))


def _table(source: Path, captions: str | None) -> Path:
    if captions is not None:
        table = source / captions
        if table.suffix not in (".jsonl", ".csv"):
            raise SourceError(f"captions={captions}: expected a .jsonl or .csv file")
        return table
    found = [source / name for name in _TABLES if (source / name).exists()]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise SourceError(
            f"{source}: expected one of {', '.join(_TABLES)}, found {names}; --set captions=FILE names it"
        )
    return found[0]


def _rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = text_lines(table, "a table of captions")
    parsed = _csv_rows(table, lines) if table.suffix == ".csv" else _json_rows(table, lines)
    for line, raw in parsed:
        row = {_NAMES.get(str(key), str(key)): value for key, value in raw.items()}
        row["caption"] = _texts(row.get("caption"))
        yield line, row


def _csv_rows(table: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO("\n".join(lines)), strict=True)
    names = {_NAMES.get(name, name) for name in reader.fieldnames or ()}
    if not {"image", "caption"} <= names:
        raise SourceError(
            f"{table}: expected the columns image and caption, found {', '.join(sorted(names)) or 'none'}"
        )
    try:
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if key in (*_COLUMNS, *_NAMES)}
    except csv.Error as error:
        raise SourceError(f"{table}, line {reader.line_num}: not CSV ({error})") from None


def _json_rows(table: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{table}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise SourceError(f"{table}, line {number}: expected an object with image and captions")
        yield number, row


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value.strip()] if value.strip() else []
    texts = value if isinstance(value, list) else []
    return [text.strip() for text in texts if isinstance(text, str) and text.strip()]


def _add(images: dict[str, dict[str, Any]], row: dict[str, Any]) -> str | None:
    """Add a row's captions to its image; the reason if it cannot be."""
    name = row.get("image")
    if not isinstance(name, str) or not name:
        return "no image is named"
    if not name.isprintable():
        return "the image's name is not text"
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return "the image is outside the folder"
    name = Path(name).as_posix()  # one way to write it
    if row.get("split") not in (None, "", "train", "test"):
        return f"split {row['split']!r}: expected train or test"
    try:
        row["box"] = _box(row.get("box"))
    except ValueError as error:
        return f"box: {error}"
    known = images.setdefault(name, {**row, "caption": []})
    for key in ("split", "class", "box"):
        if known.get(key) in (None, ""):
            known[key] = row.get(key)
        elif row.get(key) not in (None, "", known[key]):
            return f"{key} {row.get(key)!r} contradicts an earlier row's {known[key]!r}"
    known["caption"] += row["caption"]
    return None


def _box(value: Any) -> tuple[float, float, float, float] | None:
    if value in (None, "", []):
        return None
    numbers = value.split() if isinstance(value, str) else value
    if not isinstance(numbers, list):
        raise ValueError(f"expected x, y, width, height in pixels, found {value!r}")
    return box_of(numbers)


def _class(name: str, row: dict[str, Any]) -> Any:
    return name if row.get("class") in (None, "") else row["class"]


def _drawn_split(name: str, test_share: float) -> str:
    """A function of the name alone, so that more images do not move the others to another split."""
    drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    return "test" if drawn < test_share else "train"


readers.register("folder", lambda source, options: read(source, options.captions, options.test_share))
