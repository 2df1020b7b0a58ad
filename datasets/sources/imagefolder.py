"""Read Hugging Face's imagefolder: images with a table of metadata in the same folder or above them.

SOURCE/metadata.jsonl, metadata.csv or metadata.parquet     {"file_name": "a/b.jpg", "text": "…"}; and/or one in
SOURCE/train/, validation/, test/                           of the images of that split

`file_name` (or one other name that ends in _file_name) is a path from the table's folder; `text`, `caption`, `captions`
or `caption_column` is a caption or a list of them. A split's folder gives its images that split, and the sub-folder of
an image its class, unless the table has columns of these names. Sub-folders such as images/ are no class;
`--set class_folders=false` says that none are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from datasets.sources.folder import name_of, record_of, records_of_rows, table_in
from datasets.sources.options import PackOptions
from datasets.sources.place import glance, is_image, kind
from datasets.sources.records import (
    SPLITS,
    Entries,
    Note,
    Reader,
    Recognition,
    Rejection,
    Source,
    SourceError,
    readers,
    split_of,
)
from datasets.sources.rows import Row
from datasets.sources.tables import check_table, rows_of_table

__all__ = ["read", "recognise"]

_TABLES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_NO_CLASS = {"images", "image", "imgs", "img", "data", "photos", "pictures", *SPLITS}


def read(source: Path, options: PackOptions | None = None) -> Source:
    """The records of SOURCE, of its own table and then of those of its splits' folders. Raises SourceError."""
    options = options or PackOptions()
    tables = _tables(source, options)
    for _, table in tables:
        check_table(table, options)
    rows = partial(_rows, tables, options)
    return Source(name_of(source), Entries(lambda: records_of_rows(rows(), lambda row: record_of(source, row))))


def _tables(source: Path, options: PackOptions) -> list[tuple[str, Path]]:
    """The folders that have a table, from SOURCE, and the table."""
    if options.captions is not None:
        table = table_in(source, (), options.captions)
        return [(options.captions.rpartition("/")[0], table)]
    folders = [name for name in ("", *_split_folders(source)) if _table_names(source / name)]
    if not folders:
        raise SourceError(f"{source}: expected one of {', '.join(_TABLES)} there or in train/, validation/, test/")
    return [(folder, table_in(source / folder, _TABLES, None)) for folder in folders]


def _split_folders(source: Path) -> list[str]:
    return [name for name in glance(source)[1] if name.casefold() in SPLITS]


def _table_names(folder: Path) -> list[str]:
    return [name for name in _TABLES if kind(folder / name)]


def _rows(tables: list[tuple[str, Path]], options: PackOptions) -> Iterator[Row | Rejection | Note]:
    said = False
    for folder, table in tables:
        for row in rows_of_table(table, options):
            if isinstance(row, Row):
                row = _placed(row, folder, options)
                if row.class_name and _class_of(row.image) == row.class_name and not said:
                    yield Note(
                        f"the images' sub-folders are their classes, such as {row.class_name}; --set "
                        "class_folders=false where they are none"
                    )
                    said = True
            yield row


def _placed(row: Row, folder: str, options: PackOptions) -> Row:
    """The row with its image's path from SOURCE, and the split and class that this path says."""
    image = f"{folder}/{row.image}" if folder else row.image
    top = image.split("/")[0]
    return replace(
        row,
        image=image,
        split=row.split or (split_of(top) if "/" in image and top.casefold() in SPLITS else None),
        class_name=row.class_name or (_class_of(image) or None if options.class_folders else None),
    )


def _class_of(image: str) -> str:
    """The name of the innermost sub-folder that is a class; empty where there is none."""
    return next((part for part in reversed(image.split("/")[:-1]) if part.casefold() not in _NO_CLASS), "")


def recognise(source: Path) -> Recognition:
    files, folders = glance(source)
    splits = [name for name in folders if name.casefold() in SPLITS]
    for folder in ("", *splits):
        if names := _table_names(source / folder):
            return Recognition(found=f"{folder + '/' if folder else ''}{names[0]} is there")
    for folder in ("", *splits, *(f"{split}/{name}" for split in splits for name in glance(source / split)[1][:1])):
        names = glance(source / folder)[0] if folder else files
        if image := next(filter(is_image, names), ""):
            where = f"{folder}/" if folder else ""
            return Recognition(missing=f"{where}{image} is there, a table ({', '.join(_TABLES)}) is missing")
    return Recognition()


readers.register("imagefolder", Reader(read, recognise))
