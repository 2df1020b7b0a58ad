"""Where pictures go: files in a folder, or WebDataset shards in a folder or bucket.

FOLDER/000-this-bird-is-red-00.png, …, grid.png, words.txt          row of the caption, caption, noise
URL/shard-000000.tar, …, grid.png        tars of 00000000.png, 00000000.txt (the caption), 00000000.json (its record)
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Protocol

from webdataset import TarWriter

from datasets import storage
from dmgan.drawing.picture import FORMATS, Picture
from dmgan.drawing.plan import Item, Plan
from dmgan.drawing.request import DrawingError

__all__ = ["Folder", "Output", "Shards", "slug"]

_STAGE = r"(?:stage\d+\.)?"
_IMAGES = tuple(f".{name}" for name in FORMATS)


class Output(Protocol):
    """Takes pictures in the order of their plan."""

    url: str

    def check(self, grids: Sequence[str]) -> int:
        """How many files of an earlier call will be replaced. Raises DrawingError for others of the kind."""

    def add(self, item: Item, picture: Picture) -> None:
        """Write a picture, or hold it until a shard is full."""

    def close(self) -> None:
        """Write what is left."""


class Folder:
    """Each picture a file, and words.txt with what the memory wrote and read most for each caption."""

    def __init__(self, url: str, plan: Plan, format: str) -> None:
        self.url, self._plan, self._format = url, plan, format
        self._notes: list[str] = []

    def check(self, grids: Sequence[str]) -> int:
        there = [name for name in storage.list_sizes(self.url) if name.endswith(_IMAGES)]
        ours = [name for name in there if name in grids or self._is_ours(name)]
        if others := sorted(set(there) - set(ours)):
            raise DrawingError(
                f"--out {self.url}: holds other images ({others[0]}); choose an empty folder, or remove them"
            )
        return len(ours)

    def _is_ours(self, name: str) -> bool:
        found = re.fullmatch(rf"(\d{{3,}})-(.*)-(\d{{2,}})\.{_STAGE}{self._format}", name)
        if found is None:
            return False
        row, number = int(found[1]), int(found[3])
        captions = self._plan.captions
        return row < len(captions) and number < self._plan.count and found[2] == slug(captions[row])

    def add(self, item: Item, picture: Picture) -> None:
        stem = f"{item.row:03d}-{slug(item.request.caption)}-{item.request.number:02d}"
        for extension, content in picture.files.items():
            storage.write_bytes(storage.join(self.url, f"{stem}.{extension}"), content)
        self._notes += picture.notes

    def close(self) -> None:
        storage.write_bytes(storage.join(self.url, "words.txt"), ("\n".join(self._notes) + "\n").encode())


class Shards:
    """So many tars of as many pictures each, give or take one, written whole; the same pictures give the same bytes."""

    def __init__(self, url: str, pictures: int, shards: int) -> None:
        self.url, self._shards = url, shards
        self._ends = [pictures * (shard + 1) // shards for shard in range(shards)]
        self._held: list[Picture] = []
        self._added = self._written = 0

    def check(self, grids: Sequence[str]) -> int:
        there = [name for name in storage.list_sizes(self.url) if name.endswith((".tar", *_IMAGES))]
        ours = {*grids, *map(_shard, range(self._shards))}
        if others := sorted(set(there) - ours):
            raise DrawingError(
                f"--out {self.url}: holds other files ({others[0]}); choose an empty place, or remove them"
            )
        return len(there)

    def add(self, item: Item, picture: Picture) -> None:
        self._held.append(picture)
        self._added += 1
        if self._added == self._ends[self._written]:
            self._write()

    def _write(self) -> None:
        buffer, first = io.BytesIO(), self._added - len(self._held)
        with TarWriter(buffer, user="dmgan", group="dmgan", mode=0o644, encoder=False, mtime=0.0) as tar:
            for index, picture in enumerate(self._held, start=first):
                tar.write({"__key__": f"{index:08d}", **picture.files, **picture.sidecars})
        storage.write_bytes(storage.join(self.url, _shard(self._written)), buffer.getvalue())
        self._held, self._written = [], self._written + 1

    def close(self) -> None:
        """The last picture ended the last shard."""


def _shard(number: int) -> str:
    return f"shard-{number:06d}.tar"


def slug(caption: str) -> str:
    """The caption as a part of a file's name."""
    name = re.sub(r"\W+", "-", caption.lower()).strip("-")[:60]
    while len(name.encode()) > 200:  # bytes; a file's name has at most 255
        name = name[:-1]
    return name
