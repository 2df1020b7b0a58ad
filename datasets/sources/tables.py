"""Tables of captions, in JSONL, CSV or Parquet, row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from datasets.sources import parquet_files
from datasets.sources.options import PackOptions
from datasets.sources.records import Note, Rejection, SourceError
from datasets.sources.rows import Fields, Pairs, Row, RowError, meaning_of, row_of
from datasets.sources.texts import lines_of

__all__ = ["SUFFIXES", "check_table", "delimiter_of", "rows_of_table"]

SUFFIXES = (".jsonl", ".csv", ".parquet")
_EXPECTED = "a table of captions"
_FIRST = 100  # rows of which one must have a caption
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def rows_of_table(table: Path, options: PackOptions) -> Iterator[Row | Rejection | Note]:
    """What the rows say, and those that cannot be used. Raises SourceError, StorageError."""
    meaning = meaning_of(options)
    for where, fields in _rows(table, options):
        if isinstance(fields, Note):
            yield fields
            continue
        try:
            if isinstance(fields, RowError):
                raise fields
            yield row_of(where, fields, meaning)
        except RowError as error:
            yield Rejection(where, str(error))


def check_table(table: Path, options: PackOptions) -> None:
    """Raises SourceError where the first rows have no captions or the columns are not what they should be."""
    columns: dict[str, None] = {}
    for _, fields in islice(_rows(table, options), _FIRST):
        if isinstance(fields, list):
            columns |= dict.fromkeys(name for name, _ in fields)
    meaning = meaning_of(options)
    named = [name for name in columns if name.endswith("_file_name") and meaning(name) == "image"]
    if len([name for name in columns if meaning(name) == "image"]) > 1 and named:
        asked = ", ".join(name for name in columns if meaning(name) == "image")
        raise SourceError(f"{table}: the columns {asked} name images; choose one by --set image_column=NAME")
    for column in (options.caption_column, options.image_column):
        if column is not None and columns and column not in columns:
            raise SourceError(f"{table}: has no column {column}; its columns are {', '.join(columns)}")
    if columns and "caption" not in map(meaning, columns):
        raise SourceError(
            f"{table}: expected the columns image and caption, found {', '.join(columns)}; --set caption_column=NAME "
            "names that of the captions"
        )


def _rows(table: Path, options: PackOptions) -> Iterator[tuple[str, Fields | RowError | Note]]:
    """Of every row where it is and its fields, or why it has none."""
    if table.suffix == ".parquet":
        for number, row in enumerate(parquet_files.rows_of(table), start=1):
            yield f"{table}, row {number}", list(row.items())
    elif table.suffix == ".csv":
        yield from _csv_rows(table, options)
    else:
        yield from _json_rows(table, options.encoding)


def delimiter_of(header: str) -> str:
    """What is between the columns of a CSV's first line."""
    try:
        return csv.Sniffer().sniff(header, delimiters=",;\t|").delimiter
    except csv.Error:  # a single column
        return ","


def _csv_rows(table: Path, options: PackOptions) -> Iterator[tuple[str, Fields | RowError | Note]]:
    lines = lines_of(table, _EXPECTED, options.encoding)
    first, header = next(((i, text) for i, text in enumerate(lines, start=1) if text.strip()), (0, ""))
    if not header:
        raise SourceError(f"{table}: is empty; expected the columns image and caption")
    delimiter = delimiter_of(header)
    if delimiter in _DELIMITERS:
        yield str(table), Note(f"{table}: its columns are taken to be separated by {_DELIMITERS[delimiter]}")
    columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
    _check_columns(table, columns, options)
    line = start = first + 1
    reader = csv.reader((f"{text}\n" for text in lines), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if len(fields) > len(columns):
                what = f"has {len(fields)} fields for {len(columns)} columns"
                yield f"{table}, line {line}", RowError(f"{what}; put a caption with commas in quotes")
            elif fields:
                yield f"{table}, line {line}", list(zip(columns, fields, strict=False))
            line = start + reader.line_num
    except csv.Error as error:
        raise SourceError(f"{table}, line {line}: not CSV ({error})") from None


def _check_columns(table: Path, columns: list[str], options: PackOptions) -> None:
    meaning = meaning_of(options)
    for what, chosen in (("image", options.image_column), ("caption", options.caption_column)):
        named = [name for name in columns if meaning(name) == what]
        if len(named) > 1:
            raise SourceError(
                f"{table}: the columns {' and '.join(named)} both mean {what}; rename one of them, or choose by --set "
                f"{what}_column=NAME"
            )
        if not named and chosen is not None:
            raise SourceError(f"{table}: has no column {chosen}; its columns are {', '.join(columns)}")
        if not named:
            raise SourceError(
                f"{table}: expected the columns image and caption, found {', '.join(columns) or 'none'}; --set "
                f"{what}_column=NAME names another"
            )
    for name in {name for name in columns if meaning(name) and columns.count(name) > 1}:
        raise SourceError(f"{table}: has the column {name} twice")


def _json_rows(table: Path, encoding: str) -> Iterator[tuple[str, Fields | RowError | Note]]:
    for number, line in enumerate(lines_of(table, _EXPECTED, encoding), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=Pairs)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{table}, line {number}: not JSON ({error})") from None
        if not isinstance(row, Pairs):
            raise SourceError(f"{table}, line {number}: expected an object with image and captions")
        yield f"{table}, line {number}", [(str(key), value) for key, value in row]
