"""Read Parquet files with the images' bytes in them, as datasets are stored on the Hugging Face Hub.

SOURCE/**/*.parquet       such as data/train-00000-of-00005-….parquet; or SOURCE is one such file

The column of images holds structs of bytes and path, or bytes; `text`, `caption` or `captions` a caption or a list of
them; `label` or `class` a class, whose names the file's metadata may give. --set image_column=… and caption_column=…
choose others. The split is that of the file's or its folder's name, or of a column `split`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from datasets.sources import parquet_files
from datasets.sources.containers import containers
from datasets.sources.folder import name_of
from datasets.sources.options import PackOptions
from datasets.sources.place import glance, kind
from datasets.sources.records import (
    Entry,
    MemoryImage,
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
from datasets.sources.splits import split_in

__all__ = ["ParquetPart", "read", "recognise"]

_CAPTIONS = ("text", "caption", "captions")
_CLASSES = ("label", "class")


@dataclass(frozen=True)
class ParquetPart:
    """One file."""

    path: Path
    name: str  # from SOURCE
    version: str
    options: PackOptions

    def entries(self) -> Iterator[Entry]:
        """A record of every row, whose bytes are in memory a group of rows at a time. Raises SourceError."""
        columns = _columns(self.path, self.options)
        split = split_in(self.name)
        names = [name for name in (columns.image, columns.caption, columns.label, columns.split) if name]
        for number, row in enumerate(parquet_files.rows_of(self.path, names)):
            yield from self._entries(number, row, columns, split)

    def _entries(self, number: int, row: dict[str, Any], columns: _Columns, split: str) -> Iterator[Entry]:
        name = f"{self.name} row {number}"
        image = row[columns.image]
        content = image.get("bytes") if isinstance(image, dict) else image
        if not content:
            path = image.get("path") if isinstance(image, dict) else None
            yield Rejection(name, f"holds no image's bytes, only the path {path}" if path else "holds no image")
            return
        captions, rejected = captions_of(name, row[columns.caption])
        yield from rejected
        if not split and columns.split and row[columns.split] is not None:
            try:
                split = split_of(str(row[columns.split]))
            except ValueError as error:
                yield Rejection(name, str(error))
                return
        yield Record(
            key=f"{key_of(self.name)}/{number:06d}",
            image=MemoryImage(name, content),
            captions=tuple(captions),
            split=split,
            class_name=columns.class_name(row[columns.label]) if columns.label else "",
        )


@dataclass(frozen=True)
class _Columns:
    """Which columns hold what; empty for none."""

    image: str
    caption: str
    label: str = ""
    split: str = ""
    class_names: tuple[str, ...] = ()

    def class_name(self, value: object) -> str:
        """The class of a cell; −1 and nothing are none."""
        if value in (None, "", -1):
            return ""
        named = isinstance(value, int) and 0 <= value < len(self.class_names)
        return self.class_names[value] if isinstance(value, int) and named else str(value)


def read(source: Path, options: PackOptions | None = None) -> Source:
    """The files of SOURCE, each a part. Raises SourceError."""
    options = options or PackOptions()
    parts = [ParquetPart(f.path, f.name, f.version, options) for f in containers(source, ".parquet")]
    parts = [part for part in parts if not part.name.endswith("metadata.parquet")] or parts
    _columns(parts[0].path, options)  # what is wrong with all of them is said before anything is packed
    return Source(name_of(source), parts=parts)


def _columns(path: Path, options: PackOptions) -> _Columns:
    """The columns of a file. Raises SourceError."""
    schema = parquet_files.schema_of(path)
    images = [field.name for field in schema if _holds_image(field.type)]
    texts = [field.name for field in schema if field.name in _CAPTIONS and _holds_text(field.type)]
    labels = [name for name in _CLASSES if name in schema.names]
    label = labels[0] if labels and _is_label(schema.field(labels[0]).type) else ""
    return _Columns(
        image=_chosen(path, "image", options.image_column, images, schema.names),
        caption=_chosen(path, "caption", options.caption_column, texts, schema.names),
        label=label,
        split="split" if "split" in schema.names and pa.types.is_string(schema.field("split").type) else "",
        class_names=_class_names(schema, label),
    )


def _chosen(path: Path, what: str, asked: str | None, found: list[str], names: list[str]) -> str:
    there = ", ".join(names)
    if asked is not None:
        if asked not in names:
            raise SourceError(f"{path}: has no column {asked}; its columns are {there}")
        return asked
    if len(found) > 1:
        raise SourceError(
            f"{path}: {' and '.join(found)} may be the {what}'s column; choose one by --set {what}_column=NAME"
        )
    if not found:
        expected = "structs of bytes and path, or bytes" if what == "image" else "texts named text or caption"
        raise SourceError(
            f"{path}: no column of {expected}; its columns are {there}; --set {what}_column=NAME names it"
        )
    return found[0]


def _holds_image(kind_of: Any) -> bool:
    if pa.types.is_struct(kind_of):
        return kind_of.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind_of) or pa.types.is_large_binary(kind_of)


def _holds_text(kind_of: Any) -> bool:
    if pa.types.is_list(kind_of) or pa.types.is_large_list(kind_of):
        return _holds_text(kind_of.value_type)
    return pa.types.is_string(kind_of) or pa.types.is_large_string(kind_of)


def _is_label(kind_of: Any) -> bool:
    return pa.types.is_integer(kind_of) or (_holds_text(kind_of) and not pa.types.is_list(kind_of))


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """The names of a column of numbers, where Hugging Face's metadata of the file has them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[label]["names"]))
    except (KeyError, TypeError, ValueError):
        return ()


def recognise(source: Path) -> Recognition:
    if source.suffix == ".parquet" and kind(source) == "file":
        return Recognition(found=f"{source.name} is a Parquet file")
    folders = ["", *(name for name in glance(source)[1])]
    for folder in folders[:20]:
        files = set(glance(source / folder)[0] if folder else glance(source)[0])
        # img2dataset writes one beside each of its tars, or folders of pairs, with statistics.
        own = [
            name
            for name in sorted(files)
            if name.endswith(".parquet")
            and name != "metadata.parquet"
            and not {f"{name.removesuffix('.parquet')}{other}" for other in (".tar", "_stats.json")} & files
        ]
        if own:
            return Recognition(found=f"{folder + '/' if folder else ''}{own[0]} is a Parquet file")
    return Recognition()


readers.register("parquet", Reader(read, recognise))
