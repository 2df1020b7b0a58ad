"""Read COCO 2014 or 2017 with its captions, and whatever has captions in COCO's format.

SOURCE/annotations/captions_train2014.json, captions_val2014.json     the official captions; or captions_<part>.json
SOURCE/train2014/<file_name>, SOURCE/val2014/<file_name>              or SOURCE/images/train2014/, or SOURCE/images/

SOURCE may be one such JSON too. COCO's own val2014 and val2017 are the test split, as released; other files' split is
that of their name. Where several years are there, `--set captions=annotations/captions_*2017.json` chooses.

Where the authors' pickles are there (`datasets.sources.released`), they give the order and the words' numbers; without
annotations/, SOURCE/text/<name>.txt or captions.pickle gives the captions of <name>.jpg.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from datasets.sources.folder import name_of
from datasets.sources.image_folders import folder_of_images, is_inside
from datasets.sources.options import PackOptions
from datasets.sources.place import asked_of_each, glance, kind
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
)
from datasets.sources.released import Released, read_released
from datasets.sources.splits import split_in
from datasets.sources.texts import text_lines, texts_of

__all__ = ["read", "recognise"]

_LAYOUT = "COCO's layout: annotations/captions_train2014.json, train2014/, …"
_OFFICIAL = ("train2014", "val2014", "train2017", "val2017")


@dataclass
class _Annotated:
    """What the annotations say of an image."""

    file_name: str
    split: str
    folder: Path  # that its file_name is relative to
    captions: list[str] = field(default_factory=list)


_Images = dict[str, _Annotated]  # by name without suffix where that tells them apart, as the pickles have it


def read(source: Path, options: PackOptions | None = None) -> Source:
    """The records of SOURCE. Raises SourceError."""
    options = options or PackOptions()
    if source.suffix == ".json":
        root = source.parent.parent if source.parent.name == "annotations" else source.parent
        files, released = [source], Released()
    else:
        root, released = source, read_released(source)
        files = _files(source, options.captions, optional=bool(released.names))
    images: _Images = {}
    rejected = [Rejection(name, "named twice in filenames.pickle") for name in released.twice]
    for file in files:
        rejected += _annotations(root, file, images)
    _add_released(root, released, images)

    splits = released.names or {name: image.split for name, image in images.items()}

    def record(name: str) -> Record:
        return _record(root, name, splits[name], images[name], released, options.encoding)

    def entries() -> Iterator[Entry]:
        yield from rejected
        yield from asked_of_each(root, record, splits)

    official = [part for part in _OFFICIAL if any(file.stem == f"captions_{part}" for file in files)]
    year = official[0][-4:] if official else "2014" if released.names else ""
    return Source(f"COCO {year}" if year else name_of(root), Entries(entries), vocabulary=released.vocabulary)


def _record(root: Path, name: str, split: str, image: _Annotated, released: Released, encoding: str) -> Record:
    captions = tuple(image.captions) or texts_of(root / "text" / f"{name}.txt", _LAYOUT, encoding)
    return Record(
        key=key_of(name),
        image=PathImage(image.folder / image.file_name),
        captions=captions or released.captions.get(name, ()),
        split=split,
        class_id=released.classes.get(name),
        upright=False,  # as released
    )


def _files(source: Path, asked: str | None, optional: bool) -> list[Path]:
    """The JSONs of captions. Raises SourceError where there is none that is needed, or there are several years'."""
    folder, _, pattern = (asked or "annotations/captions_*.json").rpartition("/")
    there = glance(source / folder)[0] if folder else glance(source)[0]
    names = [name for name in there if fnmatch(name, pattern)]
    if not names and asked is None:
        folder, names = "", [name for name in glance(source)[0] if fnmatch(name, pattern)]
    if not names and (asked is not None or not optional):
        what = f"captions={asked}" if asked else f"{source / 'annotations'}"
        raise SourceError(f"{what}: not found; expected {_LAYOUT}")
    years = {year for year in ("2014", "2017") if any(name.endswith(f"{year}.json") for name in names)}
    if len(years) > 1:
        raise SourceError(
            f"{source / folder}: has captions of 2014 and of 2017, which are the same images in other splits; --set "
            f"captions={folder + '/' if folder else ''}captions_*2014.json chooses"
        )
    return sorted((source / folder / name if folder else source / name for name in names), key=_order)


def _order(file: Path) -> tuple[int, str]:
    """Training first, as released."""
    return ("train" not in file.stem, file.name)


def _annotations(root: Path, path: Path, images: _Images) -> list[Rejection]:
    """Add the images of a file with their captions, in its order; what is left out of it. Raises SourceError."""
    rejected: list[Rejection] = []
    by_id: dict[int, _Annotated] = {}
    part = path.stem.removeprefix("captions_")
    split = "test" if part in ("val2014", "val2017") else split_in(part)
    try:
        tree = json.loads("\n".join(text_lines(path, _LAYOUT)))
        names = [entry["file_name"] for entry in tree["images"]]
        folder = _folder(root, part, [name for name in names if isinstance(name, str) and is_inside(name)])
        for entry, name in zip(tree["images"], names, strict=True):
            if not isinstance(name, str) or not name.isprintable():
                rejected.append(Rejection(f"{path}, image {entry['id']}", "its file_name is not text"))
            elif not is_inside(name):
                rejected.append(Rejection(name, "the image is outside the folder"))
            else:
                by_id[entry["id"]] = _added(images, _Annotated(name, split, folder), part)
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


def _folder(root: Path, part: str, names: list[str]) -> Path:
    return folder_of_images(root, [part, f"images/{part}", "images", ""], names)


def _added(images: _Images, image: _Annotated, part: str) -> _Annotated:
    """The image of a file name, which may be there already; a name of two splits is two images."""
    for key in (image.file_name.rsplit(".", 1)[0], image.file_name, f"{part}/{image.file_name}"):
        there = images.setdefault(key, image)
        if (there.file_name, there.split, there.folder) == (image.file_name, image.split, image.folder):
            return there
    raise AssertionError


def _add_released(root: Path, released: Released, images: _Images) -> None:
    """The images that the pickles name and no annotations do."""
    for split, part in (("train", "train2014"), ("test", "val2014")):
        missing = [name for name, of in released.names.items() if of == split and name not in images]
        if missing:
            folder = _folder(root, part, [f"{name}.jpg" for name in missing])
            images |= {name: _Annotated(f"{name}.jpg", split, folder) for name in missing}


def recognise(source: Path) -> Recognition:
    if source.suffix == ".json" and source.name.startswith("captions") and kind(source) == "file":
        return Recognition(found=f"{source.name} is a file of captions")
    annotations = glance(source / "annotations")[0]
    files, folders = glance(source)
    for folder, names in (("annotations/", annotations), ("", files)):
        if found := [name for name in names if fnmatch(name, "captions_*.json")]:
            return Recognition(found=f"{folder}{found[0]} is there")
    parts = [name for name in _OFFICIAL if name in folders or kind(source / "images" / name) == "folder"]
    if parts and kind(source / "train" / "filenames.pickle"):
        return Recognition(found=f"{parts[0]}/ and train/filenames.pickle are there")
    if any(fnmatch(name, "instances_*.json") for name in annotations) or parts:
        there = f"{parts[0]}/" if parts else f"annotations/{annotations[0]}"
        return Recognition(
            missing=f"{there} is there, annotations/captions_{(parts or ['train2014'])[0]}.json is missing"
        )
    return Recognition()


readers.register("coco", Reader(read, recognise))
