"""What a row of a table of captions says of its image."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from datasets.sources.options import PackOptions
from datasets.sources.records import Rejection, box_of, is_text, split_of

__all__ = ["Box", "Fields", "Pairs", "Row", "RowError", "captions_of", "meaning_of", "row_of"]

_NAMES = {
    "image": "image",
    "file_name": "image",
    "caption": "caption",
    "captions": "caption",
    "text": "caption",
    "split": "split",
    "class": "class",
    "box": "box",
}
_NO_CAPTION = ("nan", "none", "null")  # what tools write where there is nothing

Box = tuple[float, float, float, float]
Fields = list[tuple[str, object]]  # names and values of a row as they are written, those too that are there twice


class RowError(ValueError):
    """A row that cannot be used; why."""


class Pairs(list[tuple[str, object]]):
    """A JSON object with all its keys, those too that are there twice."""


@dataclass
class Row:
    """What a row says of its image, or all rows of it together."""

    image: str
    captions: list[str]
    split: str | None = None
    class_name: str | None = None
    box: Box | None = None
    rejected: list[Rejection] = field(default_factory=list)  # of its captions
    where: str = ""  # for messages


def meaning_of(options: PackOptions) -> Callable[[str], str | None]:
    """What a column of that name holds: image, caption, split, class, box, or None for what is not read."""
    chosen = {"caption": options.caption_column, "image": options.image_column}

    def meaning(name: str) -> str | None:
        for what, column in chosen.items():
            if column is not None and name == column:
                return what
        found = "image" if name.endswith("_file_name") else _NAMES.get(name)
        return None if found is not None and chosen.get(found) is not None else found

    return meaning


def row_of(where: str, fields: Fields, meaning: Callable[[str], str | None]) -> Row:
    """Raises RowError."""
    found: dict[str, tuple[str, object]] = {}
    for key, value in fields:
        if (what := meaning(key)) is None:
            continue
        if what in found:
            raise RowError(f"{found[what][0]} and {key} both mean {what}")
        found[what] = key, value
    values = {what: value for what, (_, value) in found.items()}
    name = _image_name(values.get("image"))
    captions, rejected = captions_of(name, values["caption"]) if "caption" in values else ([], [])
    try:
        split, class_name = values.get("split"), values.get("class")
        return Row(
            image=name,
            captions=captions,
            split=None if split in (None, "") else split_of(str(split)),
            class_name=None if class_name in (None, "") else _class_name(class_name),
            box=_box(values.get("box")),
            rejected=rejected,
            where=where,
        )
    except ValueError as error:
        raise RowError(f"{name}: {error}") from None


def _image_name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise RowError("no image is named")
    if not value.isprintable():
        raise RowError("the image's name is not text")
    if Path(value).is_absolute():
        raise RowError(f"{value}: is an absolute path; expected one within the folder, such as images/a.jpg")
    if ".." in Path(value).parts:
        raise RowError(f"{value}: leads out of the folder")
    return Path(value).as_posix()  # one way to write it


def captions_of(name: str, value: object) -> tuple[list[str], list[Rejection]]:
    """The captions of a cell, a text or a list of texts, and what in it is none."""
    texts, rejected = [], []
    for entry in value if isinstance(value, list) and not isinstance(value, Pairs) else [value]:
        if not is_text(entry):
            shown = json.dumps(entry, default=str)[:80]
            rejected.append(Rejection(name, "the caption is no text", shown))
        elif (text := entry.strip()).casefold() in _NO_CAPTION:
            rejected.append(Rejection(name, "the caption stands for none", text))
        elif text:
            texts.append(text)
    return texts, rejected


def _class_name(value: object) -> str:
    if is_text(value) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise ValueError(f"class {json.dumps(value, default=str)[:80]}: expected a name or a number")


def _box(value: object) -> Box | None:
    if value in (None, "", []):
        return None
    numbers = value.split() if isinstance(value, str) else value
    try:
        if not isinstance(numbers, list) or isinstance(numbers, Pairs):
            raise ValueError(f"expected x, y, width, height in pixels, found {value!r}")
        return box_of(numbers)
    except ValueError as error:
        raise ValueError(f"box: {error}") from None
