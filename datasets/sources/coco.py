"""Read COCO 2014 with its captions: val2014 is the test split, and every image is a class of its own, as released.

SOURCE/annotations/captions_train2014.json, captions_val2014.json     the official captions
SOURCE/train2014/<name>.jpg, SOURCE/val2014/<name>.jpg                or all under SOURCE/images/

Where the authors' pickles are there (`datasets.sources.released`), they give the order and the words' numbers; without
annotations/, SOURCE/text/<name>.txt or captions.pickle gives the captions.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from datasets.sources.records import LocalImage, Record, Rejection, Source, SourceError, key_of, readers, text_lines
from datasets.sources.released import Released, read_released

__all__ = ["read"]

_PARTS = {"train": "train2014", "test": "val2014"}
_LAYOUT = "COCO 2014's layout: annotations/captions_train2014.json, train2014/, …"


def read(source: Path) -> Source:
    """The records of SOURCE. Raises SourceError."""
    released = read_released(source)
    annotated = (source / "annotations").is_dir()
    if not annotated and not released.names:
        raise SourceError(f"{source / 'annotations'}: not found; expected {_LAYOUT}")
    captions: dict[str, tuple[str, ...]] = {}  # <name> → captions
    splits: dict[str, str] = {}
    if annotated:
        for split, part in _PARTS.items():
            found = _annotations(source / "annotations" / f"captions_{part}.json")
            captions |= found
            splits |= dict.fromkeys(found, split)
    records = []
    for class_id, (name, split) in enumerate((released.names or splits).items()):
        texts = captions.get(name) or _other_captions(source, released, name)
        records.append(Record(key_of(name), split, LocalImage(_image(source, split, name)), None, texts, class_id))
    twice = tuple(Rejection(name, "named twice in filenames.pickle") for name in released.twice)
    return Source("COCO 2014", tuple(records), released.vocabulary, twice)


def _annotations(path: Path) -> dict[str, tuple[str, ...]]:
    """Captions by the image's name without suffix, in the order of the file's images."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        texts: defaultdict[int, list[str]] = defaultdict(list)
        for entry in tree["annotations"]:
            texts[entry["image_id"]].append(" ".join(str(entry["caption"]).split()))
        return {image["file_name"].rsplit(".", 1)[0]: tuple(texts[image["id"]]) for image in tree["images"]}
    except FileNotFoundError:
        raise SourceError(f"{path}: not found; expected {_LAYOUT}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{path}: not COCO's captions ({type(error).__name__}: {error})") from error


def _image(source: Path, split: str, name: str) -> Path:
    official = source / _PARTS[split] / f"{name}.jpg"
    return official if official.exists() else source / "images" / f"{name}.jpg"


def _other_captions(source: Path, released: Released, name: str) -> tuple[str, ...]:
    path = source / "text" / f"{name}.txt"
    if path.exists():
        return tuple(line.strip() for line in text_lines(path, _LAYOUT) if line.strip())
    return released.captions.get(name, ())


readers.register("coco", lambda source, options: read(source))
