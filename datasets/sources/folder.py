"""Read any folder of images with a table of captions.

SOURCE/captions.jsonl     {"image": "a/b.jpg", "captions": ["…", …]}, one object a line; or
SOURCE/captions.csv       columns image,caption; an image may have several rows; commas, semicolons or tabs between

Optional keys or columns: split (train, test or validation), class (any name), box (x, y, width, height in pixels; in a
CSV with spaces between). `file_name` and `text` do for image and caption, and `caption_column` names another; the table
may be called metadata.jsonl or metadata.csv too. Without a split, the packing draws one; without a class, every image
is a class of its own. A class is for images whose captions fit one another's (docs/data.md, "What a class is for").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from datasets.sources.grouping import grouped
from datasets.sources.options import PackOptions
from datasets.sources.place import in_bucket, kind
from datasets.sources.records import (
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
)
from datasets.sources.rows import Row
from datasets.sources.tables import SUFFIXES, check_table, rows_of_table

__all__ = ["name_of", "read", "recognise", "record_of", "records_of_rows", "table_in"]

_TABLES = ("captions.jsonl", "captions.csv", "metadata.jsonl", "metadata.csv")


def read(source: Path, options: PackOptions | None = None) -> Source:
    """The records of SOURCE in the table's order. `options.captions` names the table if it has another name.

    Rows that name no image or contradict an earlier one of the same image are rejected. Raises SourceError.
    """
    options = options or PackOptions()
    table = table_in(source, _TABLES, options.captions)
    check_table(table, options)
    rows = partial(rows_of_table, table, options)
    return Source(name_of(source), Entries(lambda: records_of_rows(rows(), lambda row: record_of(source, row))))


def records_of_rows(rows: Iterable[Row | Rejection | Note], record: Callable[[Row], Record]) -> Iterator[Entry]:
    """A record of all rows of each image, after what is left out of them."""
    for row in grouped(rows):
        yield record(row) if isinstance(row, Row) else row


def record_of(source: Path, row: Row) -> Record:
    """The record of all rows of an image, whose name is a path from `source`."""
    return Record(
        key=key_of(row.image),
        image=PathImage(source / row.image),
        captions=tuple(row.captions),
        split=row.split or "",
        class_name=row.class_name or "",
        box=row.box,
        upright=row.box is None,  # a box is in the stored pixels
    )


def table_in(source: Path, names: Iterable[str], chosen: str | None) -> Path:
    """The one of `names` that is in a folder, or that which --set captions chose. Raises SourceError."""
    if chosen is not None:
        table = source / chosen
        if table.suffix not in SUFFIXES:
            raise SourceError(f"captions={chosen}: expected a .jsonl or .csv file, or a .parquet one")
        return table
    found = [source / name for name in names if kind(source / name)]
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise SourceError(f"{source}: expected one of {', '.join(names)}, found {there}; --set captions=FILE names it")
    return found[0]


def name_of(source: Path) -> str:
    """What a dataset is called after its folder."""
    return (source if in_bucket(source) else source.resolve()).name or "folder"


def recognise(source: Path) -> Recognition:
    if found := [name for name in _TABLES[:2] if kind(source / name)]:
        return Recognition(found=f"{' and '.join(found)} is there")
    if source.suffix in SUFFIXES[:2] and kind(source) == "file":
        return Recognition(missing=f"{source.name} is a table; give the folder that holds it and the images")
    return Recognition()


readers.register("folder", Reader(read, recognise))
