"""Read images with Karpathy's splits and captions of them.

SOURCE/dataset_coco.json, dataset_flickr8k.json or dataset_flickr30k.json, or in SOURCE/annotations/; or SOURCE is it
SOURCE/<filepath>/<filename>     such as val2014/…, or under SOURCE/images/, or in Flickr's folders

His restval, which everybody trains on, is training; val is validation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from datasets.sources.folder import name_of
from datasets.sources.image_folders import folder_of_images, is_inside
from datasets.sources.options import PackOptions
from datasets.sources.place import glance, kind
from datasets.sources.records import (
    Entries,
    Entry,
    PathImage,
    Reader,
    Recognition,
    Record,
    Rejection,
    Source,
    SourceError,
    is_text,
    key_of,
    readers,
    split_of,
)
from datasets.sources.texts import text_lines

__all__ = ["read", "recognise"]

_LAYOUT = "one of Karpathy's files, such as dataset_coco.json"
_FOLDERS = ("images", "Images", "Flicker8k_Dataset", "flickr30k_images", "flickr30k-images", "")


def read(source: Path, options: PackOptions | None = None) -> Source:
    """The records of SOURCE in the file's order. Raises SourceError."""
    root, file = _file(source, (options or PackOptions()).captions)
    try:
        images = [_image(entry) for entry in json.loads("\n".join(text_lines(file, _LAYOUT)))["images"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(f"{file}: not Karpathy's captions ({type(error).__name__}: {error})") from error
    names: dict[str, list[str]] = {}
    for image in images:
        if is_inside(image.name):
            names.setdefault(image.folder, []).append(image.file)
    folders = {folder: _folder(root, folder, of) for folder, of in names.items()}
    return Source(name_of(root), Entries(partial(_entries, file, images, folders)))


@dataclass(frozen=True)
class _Image:
    """What the file says of an image."""

    folder: str
    file: str
    split: str
    captions: list[object]

    @property
    def name(self) -> str:
        return f"{self.folder}/{self.file}" if self.folder else self.file


def _image(entry: dict[str, Any]) -> _Image:
    """Raises KeyError, TypeError."""
    folder, file, split = entry.get("filepath", ""), entry["filename"], entry["split"]
    if not all(isinstance(value, str) for value in (folder, file, split)):
        raise TypeError(f"expected texts, found {folder!r}, {file!r}, {split!r}")
    return _Image(folder, file, split, [sentence["raw"] for sentence in entry["sentences"]])


def _entries(file: Path, images: list[_Image], folders: dict[str, Path]) -> Iterator[Entry]:
    for image in images:
        if not image.name.isprintable() or not is_inside(image.name):
            yield Rejection(f"{file}, image {image.name!r}", "the image is outside the folder")
            continue
        try:
            split = "train" if image.split == "restval" else split_of(image.split)
        except ValueError as error:
            yield Rejection(image.name, f"{error}, restval")
            continue
        captions = []
        for text in image.captions:
            if is_text(text) and text.strip():
                captions.append(" ".join(text.split()))
            else:
                yield Rejection(image.name, "the caption is no text", json.dumps(text)[:80])
        yield Record(key_of(image.file), PathImage(folders[image.folder] / image.file), tuple(captions), split)


def _folder(root: Path, folder: str, names: list[str]) -> Path:
    places = [folder, f"images/{folder}", *_FOLDERS] if folder else [*_FOLDERS]
    return folder_of_images(root, places, names)


def _file(source: Path, asked: str | None) -> tuple[Path, Path]:
    """The folder of all, and the JSON in it. Raises SourceError."""
    if source.suffix == ".json":
        return (source.parent.parent if source.parent.name == "annotations" else source.parent), source
    if asked is not None:
        return source, source / asked
    found = _found(source)
    if len(found) != 1:
        there = ", ".join(found) or "none"
        raise SourceError(f"{source}: expected {_LAYOUT}, found {there}; --set captions=FILE names it")
    return source, source / found[0]


def _found(source: Path) -> list[str]:
    """The files that may be his, by their names, from SOURCE."""
    folders = (("", glance(source)[0]), ("annotations/", glance(source / "annotations")[0]))
    return [f"{folder}{name}" for folder, names in folders for name in names if _is_his(name)]


def _is_his(name: str) -> bool:
    return fnmatch(name, "dataset_*.json") or name == "dataset.json"


def recognise(source: Path) -> Recognition:
    if _is_his(source.name) and kind(source) == "file":
        return Recognition(found=f"{source.name} has the name of one of Karpathy's files")
    if found := _found(source):
        return Recognition(found=f"{found[0]} has the name of one of Karpathy's files")
    return Recognition()


readers.register("karpathy", Reader(read, recognise))
