"""Read Flickr8k and Flickr30k, in the files they are handed around in; the captions are one of

Flickr8k.token.txt, results_20130124.token     "name.jpg#0<TAB>caption"
results.csv                                    "image_name| comment_number| comment"
captions.txt                                   "image,caption", as on Kaggle

in SOURCE or a folder of it, and the images in SOURCE, Images/, Flicker8k_Dataset/, flickr30k_images/ or another folder
of it. Flickr_8k.trainImages.txt, devImages.txt and testImages.txt, or train.txt, val.txt and test.txt, give the splits
where they are there: images that none of them names are left out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePosixPath

from datasets.sources.folder import name_of
from datasets.sources.grouping import grouped
from datasets.sources.image_folders import folder_of_images
from datasets.sources.options import PackOptions
from datasets.sources.place import glance
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
    split_of,
)
from datasets.sources.rows import Row, captions_of
from datasets.sources.tables import delimiter_of
from datasets.sources.texts import lines_of

__all__ = ["read", "recognise"]

_TOKENS = ("*.token.txt", "*.token")
_TABLES = ("results.csv", "captions.txt")
_LAYOUT = "Flickr's captions: Flickr8k.token.txt, results_20130124.token, results.csv or captions.txt"
_SPLIT = re.compile(r"(?:Flickr_8k\.(train|dev|test)Images|(?:flickr30k_)?(train|val|dev|test))\.txt")
_FOLDERS = ("Images", "images", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k_images", "flickr30k-images")


def read(source: Path, options: PackOptions | None = None) -> Source:
    """The records of SOURCE in the order of its captions. Raises SourceError."""
    options = options or PackOptions()
    found = [options.captions] if options.captions else _captions_in(source)
    if len(found) != 1:
        there = ", ".join(found) or "none"
        raise SourceError(f"{source}: expected {_LAYOUT}, found {there}; --set captions=FILE names it")
    table = source / found[0]
    splits = _splits(source, found[0].rpartition("/")[0], options.encoding)
    rows = partial(_rows, table, options.encoding)
    first = dict.fromkeys(row.image for row, _ in zip(rows(), range(50), strict=False) if isinstance(row, Row))
    folder = folder_of_images(source, _image_folders(source), first)
    return Source(name_of(source), Entries(lambda: _entries(rows(), folder, splits)))


def _entries(rows: Iterator[Row | Rejection | Note], folder: Path, splits: dict[str, str]) -> Iterator[Entry]:
    unlisted = 0
    for row in grouped(rows):
        if not isinstance(row, Row):
            yield row
        elif splits and row.image not in splits:
            unlisted += 1
        else:
            image = PathImage(folder / row.image)
            yield Record(key_of(row.image), image, tuple(row.captions), splits.get(row.image, ""))
    if unlisted:
        yield Note(f"{unlisted} images are in none of the files of splits and left out")


def _rows(table: Path, encoding: str) -> Iterator[Row | Rejection | Note]:
    lines = enumerate(lines_of(table, _LAYOUT, encoding), start=1)
    if fnmatch(table.name, "*.token*"):
        for number, line in lines:
            name, tab, text = line.partition("\t")
            if line.strip():
                yield _row(f"{table}, line {number}", [name.rpartition("#")[0], text] if tab and "#" in name else [])
        return
    _, header = next(lines, (0, ""))
    delimiter = delimiter_of(header)
    columns = [name.strip() for name in header.split(delimiter)]
    image, caption = (_column(table, columns, names) for names in (("image", "image_name"), ("caption", "comment")))
    for number, line in lines:
        if line.strip():
            fields = _fields(line, delimiter, len(columns))
            there = len(fields) == len(columns)
            yield _row(f"{table}, line {number}", [fields[image], fields[caption]] if there else [])


def _fields(line: str, delimiter: str, columns: int) -> list[str]:
    """Those with bars are not quoted; those with commas are where they must be."""
    if delimiter == "|":
        return line.split("|", columns - 1)
    return next(csv.reader([line], delimiter=delimiter))


def _row(where: str, fields: list[str]) -> Row | Rejection:
    if not fields:
        return Rejection(where, "not an image and its caption")
    name = fields[0].strip()
    if not name.isprintable() or PurePosixPath(name).name != name or name == "..":
        return Rejection(where, f"{name!r} is no image's name")
    captions, rejected = captions_of(name, fields[1])
    return Row(name, captions, rejected=rejected, where=where)


def _column(table: Path, columns: list[str], names: tuple[str, ...]) -> int:
    for name in names:
        if name in columns:
            return columns.index(name)
    raise SourceError(f"{table}: expected a column {' or '.join(names)}, found {', '.join(columns)}")


def _captions_in(source: Path) -> list[str]:
    """The files of captions of SOURCE and its folders, from it; those of lemmas are none."""
    files, folders = glance(source)
    found = [name for name in files if _is_captions(name)]
    for folder in folders[:20] if not found else ():
        found += [f"{folder}/{name}" for name in glance(source / folder)[0] if _is_captions(name)]
    tokens = [name for name in found if ".token" in name]
    return tokens if len(tokens) == 1 else found


def _is_captions(name: str) -> bool:
    return name in _TABLES or (any(fnmatch(name, pattern) for pattern in _TOKENS) and ".lemma." not in name)


def _image_folders(source: Path) -> list[str]:
    """Where images may be, those first that are called so."""
    folders = glance(source)[1]
    twice = [f"{folder}/{folder}" for folder in folders]  # as some archives unpack
    return [*_FOLDERS, *twice, *folders, ""]


def _splits(source: Path, folder: str, encoding: str) -> dict[str, str]:
    """The split of each image by its name; empty where no file says it. Raises SourceError."""
    splits: dict[str, str] = {}
    for place in dict.fromkeys((source, source / folder if folder else source)):
        for name in glance(place)[0]:
            if not (match := _SPLIT.fullmatch(name)):
                continue
            split = split_of(match[1] or match[2])
            for line in lines_of(place / name, "a list of images", encoding):
                if image := line.strip():
                    image = image if "." in image else f"{image}.jpg"
                    if splits.setdefault(image, split) != split:
                        raise SourceError(f"{place / name}: {image} is in the {splits[image]} split too")
    return splits


def recognise(source: Path) -> Recognition:
    if found := _captions_in(source):
        return Recognition(found=f"{found[0]} is there")
    if folders := [name for name in glance(source)[1] if name in _FOLDERS[2:]]:
        return Recognition(missing=f"{folders[0]}/ is there, {_LAYOUT} is missing")
    return Recognition()


readers.register("flickr", Reader(read, recognise))
