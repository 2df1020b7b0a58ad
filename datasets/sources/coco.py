"""Read COCO 2014 with its captions: val2014 is the test split, and every image is a class of its own, as released.

SOURCE/annotations/captions_train2014.json, captions_val2014.json     the official captions
SOURCE/train2014/<file_name>, SOURCE/val2014/<file_name>              or all under SOURCE/images/

Where the authors' pickles are there (`datasets.sources.released`), they give the order and the words' numbers; without
annotations/, SOURCE/text/<name>.txt or captions.pickle gives the captions of <name>.jpg.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from datasets.documents import exists
from datasets.sources.records import (
    LocalImage,
    Record,
    Rejection,
    Source,
    SourceError,
    is_text,
    key_of,
    readers,
    text_lines,
)
from datasets.sources.released import Released, read_released

__all__ = ["read"]

_PARTS = {"train": "train2014", "test": "val2014"}
_LAYOUT = "COCO 2014's layout: annotations/captions_train2014.json, train2014/, …"


@dataclass
class _Annotated:
    """What the annotations say of an image."""

    file_name: str
    split: str
    captions: list[str] = field(default_factory=list)


def read(source: Path, encoding: str = "utf-8") -> Source:
    """The records of SOURCE. Raises SourceError."""
    released = read_released(source)
    annotations = source / "annotations"
    if not annotations.is_dir() and not released.names:
        raise SourceError(f"{annotations}: not found; expected {_LAYOUT}")
    images: dict[str, _Annotated] = {}  # by name without suffix where that tells them apart, as the pickles have it
    rejected = [Rejection(name, "named twice in filenames.pickle") for name in released.twice]
    if annotations.is_dir():
        for split, part in _PARTS.items():
            rejected += _annotations(annotations / f"captions_{part}.json", split, images)
    records = []
    splits = released.names or {name: image.split for name, image in images.items()}
    for class_id, (name, split) in enumerate(splits.items()):
        image = images.get(name) or _Annotated(f"{name}.jpg", split)
        texts = tuple(image.captions) or _other_captions(source, released, name, encoding)
        where = LocalImage(_path(source, split, image.file_name))
        records.append(Record(key_of(name), split, where, None, texts, class_id, image.file_name))
    return Source("COCO 2014", tuple(records), released.vocabulary, tuple(rejected))


def _annotations(path: Path, split: str, images: dict[str, _Annotated]) -> list[Rejection]:
    """Add the images of a file with their captions, in its order; what is left out of it. Raises SourceError."""
    rejected: list[Rejection] = []
    by_id: dict[int, _Annotated] = {}
    try:
        tree = json.loads("\n".join(text_lines(path, _LAYOUT)))
        for entry in tree["images"]:
            name = entry["file_name"]
            if not isinstance(name, str) or not name.isprintable():
                rejected.append(Rejection(f"{path}, image {entry['id']}", "its file_name is not text"))
            elif Path(name).is_absolute() or ".." in Path(name).parts:
                rejected.append(Rejection(name, "the image is outside the folder"))
            else:
                by_id[entry["id"]] = _added(images, name, split)
        for entry in tree["annotations"]:
            image, text = by_id.get(entry["image_id"]), entry["caption"]
            if not is_text(text) or not text.strip():
                named = image.file_name if image is not None else f"{path}, image {entry['image_id']}"
                rejected.append(Rejection(named, "the caption is no text", json.dumps(text)[:80]))
            elif image is not None:
                image.captions.append(" ".join(text.split()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(f"{path}: not COCO's captions ({type(error).__name__}: {error})") from error
    return rejected


def _added(images: dict[str, _Annotated], name: str, split: str) -> _Annotated:
    """The image of a file name, which may be there already; a name of both splits is two images."""
    for key in (name.rsplit(".", 1)[0], name, f"{_PARTS[split]}/{name}"):
        there = images.setdefault(key, _Annotated(name, split))
        if (there.file_name, there.split) == (name, split):
            return there
    raise AssertionError


def _path(source: Path, split: str, file_name: str) -> Path:
    official = source / _PARTS[split] / file_name
    return official if exists(official) else source / "images" / file_name


def _other_captions(source: Path, released: Released, name: str, encoding: str) -> tuple[str, ...]:
    path = source / "text" / f"{name}.txt"
    if exists(path):
        return tuple(line.strip() for line in text_lines(path, _LAYOUT, encoding) if line.strip())
    return released.captions.get(name, ())


readers.register("coco", lambda source, options: read(source, options.encoding))
