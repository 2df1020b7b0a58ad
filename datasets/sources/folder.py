"""Read any folder of images with a table of captions.

SOURCE/captions.jsonl     {"image": "a/b.jpg", "captions": ["…", …]}, one object a line; or
SOURCE/captions.csv       columns image,caption; an image may have several rows

Optional keys or columns: split (train, test or validation), class (any name), box (x, y, width, height in pixels; in a
CSV with spaces between). `file_name` and `text` do for image and caption, and metadata.jsonl or metadata.csv for the
file, as in other tools' image folders. Without a split, `test_share` of the images is the test split, drawn by a hash
of their names, and one image at least; without a class, every image is a class of its own.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datasets.sources.options import PackOptions
from datasets.sources.records import (
    LocalImage,
    Record,
    Rejection,
    Source,
    SourceError,
    box_of,
    is_text,
    key_of,
    readers,
    split_of,
    text_lines,
)

__all__ = ["read"]

_TABLES = ("captions.jsonl", "captions.csv", "metadata.jsonl", "metadata.csv")
# What columns and keys may be called.
_NAMES = {
    "image": "image",
    "file_name": "image",
    "caption": "caption",
    "captions": "caption",
    "text": "caption",
    "split": "split",
    "class": "class",
    "box": "box",
}
_NO_CAPTION = ("nan", "none", "null")  # what tools write where there is nothing

_Box = tuple[float, float, float, float]
_Keys = list[tuple[str, object]]  # of a row, with their values, as they are written


class _RowError(ValueError):
    """A row that cannot be used; why."""


@dataclass
class _Row:
    """What a row says of its image, or all rows of it together."""

    image: str
    captions: list[str]
    split: str | None = None
    class_name: str | None = None
    box: _Box | None = None
    rejected: list[Rejection] = field(default_factory=list)  # of its captions


def read(source: Path, options: PackOptions | None = None) -> Source:
    """The records of SOURCE in the table's order. `options.captions` names the table if it has another name.

    Rows that name no image or contradict an earlier one of the same image are rejected. Raises SourceError.
    """
    options = options or PackOptions()
    table = _table(source, options.captions)
    rejected: list[Rejection] = []
    images: dict[str, _Row] = {}
    for line, raw in _rows(table, options.encoding):
        try:
            if isinstance(raw, _RowError):
                raise raw
            row = _row(raw)
            rejected += row.rejected
            _add(images, row)
        except _RowError as error:
            rejected.append(Rejection(f"{table}, line {line}", str(error)))
    class_names = {name: row.class_name or name for name, row in images.items()}
    class_ids = {name: i for i, name in enumerate(sorted(set(class_names.values())))}
    drawn = _drawn(name for name, row in images.items() if row.split is None)
    splits = {
        name: row.split or ("test" if drawn[name] < options.test_share else "train") for name, row in images.items()
    }
    if len(drawn) > 1 and "test" not in splits.values() and "validation" not in splits.values():
        splits[min(drawn, key=drawn.__getitem__)] = "test"
    records = [
        Record(
            key=key_of(name),
            split=splits[name],
            image=LocalImage(source / name),
            box=row.box,
            captions=tuple(row.captions),
            class_id=class_ids[class_names[name]],
            class_name=class_names[name],
            upright=row.box is None,  # a box is in the stored pixels
        )
        for name, row in images.items()
    ]
    return Source(source.resolve().name or "folder", tuple(records), rejected=tuple(rejected))


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


def _rows(table: Path, encoding: str) -> Iterator[tuple[int, _Keys | _RowError]]:
    """Of every row its line and its keys, or why it has none."""
    lines = text_lines(table, "a table of captions", encoding)
    return _csv_rows(table, lines) if table.suffix == ".csv" else _json_rows(table, lines)


def _csv_rows(table: Path, lines: Iterable[str]) -> Iterator[tuple[int, _Keys | _RowError]]:
    reader = csv.reader(io.StringIO("\n".join(lines)), strict=True)
    line, columns = 1, list[str]()
    try:
        for fields in reader:
            if not columns:
                columns = [name.strip() for name in fields]
                _check_columns(table, columns)
            elif fields:
                if len(fields) > len(columns):
                    what = f"has {len(fields)} fields for {len(columns)} columns"
                    yield line, _RowError(f"{what}; put a caption with commas in quotes")
                else:
                    yield line, list(zip(columns, fields, strict=False))
            line = reader.line_num + 1
    except csv.Error as error:
        raise SourceError(f"{table}, line {line}: not CSV ({error})") from None
    if not columns:
        raise SourceError(f"{table}: is empty; expected the columns image and caption")


def _check_columns(table: Path, columns: list[str]) -> None:
    for meaning in ("image", "caption"):
        named = [name for name in columns if _NAMES.get(name) == meaning]
        if len(named) > 1:
            raise SourceError(f"{table}: the columns {' and '.join(named)} both mean {meaning}; rename one of them")
        if not named:
            raise SourceError(f"{table}: expected the columns image and caption, found {', '.join(columns) or 'none'}")
    for name in {name for name in columns if name in _NAMES and columns.count(name) > 1}:
        raise SourceError(f"{table}: has the column {name} twice")


def _json_rows(table: Path, lines: Iterable[str]) -> Iterator[tuple[int, _Keys | _RowError]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{table}, line {number}: not JSON ({error})") from None
        if not isinstance(row, _Pairs):
            raise SourceError(f"{table}, line {number}: expected an object with image and captions")
        yield number, [(str(key), value) for key, value in row]


class _Pairs(list[tuple[str, object]]):
    """A JSON object with all its keys, those too that are there twice."""


def _row(pairs: _Keys) -> _Row:
    """Raises _RowError."""
    found: dict[str, tuple[str, object]] = {}
    for key, value in pairs:
        if (meaning := _NAMES.get(key)) is None:
            continue
        if meaning in found:
            raise _RowError(f"{found[meaning][0]} and {key} both mean {meaning}")
        found[meaning] = key, value
    values = {meaning: value for meaning, (_, value) in found.items()}
    name = _image_name(values.get("image"))
    captions, rejected = _captions(name, values["caption"]) if "caption" in values else ([], [])
    try:
        split, class_name = values.get("split"), values.get("class")
        return _Row(
            image=name,
            captions=captions,
            split=None if split in (None, "") else split_of(str(split)),
            class_name=None if class_name in (None, "") else _class_name(class_name),
            box=_box(values.get("box")),
            rejected=rejected,
        )
    except ValueError as error:
        raise _RowError(f"{name}: {error}") from None


def _image_name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _RowError("no image is named")
    if not value.isprintable():
        raise _RowError("the image's name is not text")
    if Path(value).is_absolute():
        raise _RowError(f"{value}: is an absolute path; expected one within the folder, such as images/a.jpg")
    if ".." in Path(value).parts:
        raise _RowError(f"{value}: leads out of the folder")
    return Path(value).as_posix()  # one way to write it


def _captions(name: str, value: object) -> tuple[list[str], list[Rejection]]:
    """The captions of a cell, a text or a list of texts, and what in it is none."""
    texts, rejected = [], []
    for entry in value if isinstance(value, list) and not isinstance(value, _Pairs) else [value]:
        if not is_text(entry):
            shown = json.dumps(entry, default=str)[:80]
            rejected.append(Rejection(name, "the caption is no text", shown))
        elif (text := entry.strip()).casefold() in _NO_CAPTION:
            rejected.append(Rejection(name, "the caption stands for none", text))
        elif text:
            texts.append(text)
    return texts, rejected


def _class_name(value: object) -> str:
    if is_text(value) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise ValueError(f"class {json.dumps(value, default=str)[:80]}: expected a name or a number")


def _box(value: object) -> _Box | None:
    if value in (None, "", []):
        return None
    numbers = value.split() if isinstance(value, str) else value
    try:
        if not isinstance(numbers, list) or isinstance(numbers, _Pairs):
            raise ValueError(f"expected x, y, width, height in pixels, found {value!r}")
        return box_of(numbers)
    except ValueError as error:
        raise ValueError(f"box: {error}") from None


def _add(images: dict[str, _Row], row: _Row) -> None:
    """Add a row's captions to its image. Raises _RowError where it contradicts an earlier one."""
    known = images.setdefault(row.image, _Row(row.image, []))
    for key, named in (("split", "split"), ("class_name", "class"), ("box", "box")):
        before, now = getattr(known, key), getattr(row, key)
        if before is not None and now is not None and now != before:
            raise _RowError(f"{row.image}: {named} {now!r} contradicts an earlier row's {before!r}")
        setattr(known, key, now if before is None else before)
    known.captions += row.captions


def _drawn_split(draw: float, options: PackOptions) -> str:
    return "test" if draw < options.test_share else "train"


def _drawn(names: Iterable[str]) -> dict[str, float]:
    """A number in [0, 1) of each name alone, so that more images do not move the others to another split."""
    return {name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64 for name in names}


readers.register("folder", read)
