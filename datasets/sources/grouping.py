"""All rows of an image together, wherever they are in the table.

They are gathered in a temporary database of SQLite's, which stays in memory while it is small and goes to a file of the
temporary folder when it is not.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import groupby
from typing import Any

from datasets.sources.records import Note, Rejection, SourceError
from datasets.sources.rows import Row, RowError

__all__ = ["grouped"]

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE images (number INTEGER PRIMARY KEY, name TEXT UNIQUE, split TEXT, class_name TEXT, box TEXT);
CREATE TABLE captions (image INTEGER, number INTEGER, text TEXT, PRIMARY KEY (image, number)) WITHOUT ROWID;
"""
_ALL = """
SELECT images.number, name, split, class_name, box, text FROM images
LEFT JOIN captions ON captions.image = images.number ORDER BY images.number, captions.number
"""


def grouped(rows: Iterable[Row | Rejection | Note]) -> Iterator[Row | Rejection | Note]:
    """First what is left out, then a row for each image with all its captions, in the order of their first rows.

    A row that contradicts an earlier one of its image is left out.
    """
    try:
        with closing(sqlite3.connect("", check_same_thread=False)) as database:  # a temporary one
            database.executescript(_TABLES)
            database.execute("BEGIN")
            for number, row in enumerate(rows):
                if isinstance(row, Row):
                    yield from row.rejected
                    try:
                        _add(database, row, number)
                    except RowError as error:
                        yield Rejection(row.where, str(error))
                else:
                    yield row
            for _, of_image in groupby(database.execute(_ALL), key=lambda cells: cells[0]):
                yield _row(list(of_image))
    except sqlite3.Error as error:
        raise SourceError(f"the rows of an image cannot be gathered in the temporary folder: {error}") from error


def _add(database: sqlite3.Connection, row: Row, number: int) -> None:
    """Add a row's captions to its image. Raises RowError where it contradicts an earlier one."""
    now = (row.split, row.class_name, json.dumps(row.box) if row.box is not None else None)
    find = "SELECT number, split, class_name, box FROM images WHERE name = ?"
    if known := database.execute(find, (row.image,)).fetchone():
        image, *before = known
        for named, old, new in zip(("split", "class", "box"), before, now, strict=True):
            if old is not None and new is not None and old != new:
                shown = [_box(value) if named == "box" else value for value in (new, old)]
                raise RowError(f"{row.image}: {named} {shown[0]!r} contradicts an earlier row's {shown[1]!r}")
        if any(old is None and new is not None for old, new in zip(before, now, strict=True)):
            change = "UPDATE images SET split = ?, class_name = ?, box = ? WHERE number = ?"
            database.execute(change, [*(b if b is not None else n for b, n in zip(before, now, strict=True)), image])
    else:
        image = number
        database.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?)", (image, row.image, *now))
    captions = [(image, (number << 20) + i, text) for i, text in enumerate(row.captions)]
    database.executemany("INSERT INTO captions VALUES (?, ?, ?)", captions)


def _row(cells: list[tuple[Any, ...]]) -> Row:
    _, name, split, class_name, box, _ = cells[0]
    return Row(name, [text for *_, text in cells if text is not None], split, class_name, _box(box))


def _box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    x, y, width, height = json.loads(text)
    return x, y, width, height
