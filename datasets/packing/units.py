"""What is packed at once by one process: some records of a source, or a part of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

from datasets.sources.records import Entry, Note, Part, Record, Source

__all__ = ["Unit", "units_of"]

_FIRST, _LARGEST, _OF_ONE_SIZE = 64, 4096, 32


@dataclass(frozen=True)
class Unit:
    number: int
    identity: str  # checksum of what it holds; of the images, their names and sizes
    entries: tuple[Entry, ...] = ()
    part: Part | None = None

    @property
    def name(self) -> str:
        return f"unit-{self.number:08d}"

    def read(self) -> Iterator[Entry]:
        """Raises SourceError."""
        return iter(self.entries) if self.part is None else self.part.entries()


def units_of(source: Source) -> Iterator[Unit]:
    """The units of a source, made as they are asked for; the same each time. Raises SourceError.

    They begin small, for sources with little to share out, and grow to what a process can hold.
    """
    entries = iter(source.entries)
    for number in count():
        size = min(_LARGEST, _FIRST << number // _OF_ONE_SIZE)
        if not (chunk := tuple(islice(entries, size))):
            break
        yield Unit(number, _identity(chunk), chunk)
    for place, part in enumerate(source.parts, start=number):
        said = f"{part.name.rsplit('/', 1)[-1]} {part.version}"
        yield Unit(place, hashlib.sha256(said.encode()).hexdigest(), part=part)


def _identity(entries: tuple[Entry, ...]) -> str:
    digest = hashlib.sha256()
    for entry in entries:
        if isinstance(entry, Note):  # it may name a place, which does not matter
            continue
        fields: dict[str, object] = dict(entry.__dict__)
        if isinstance(entry, Record):
            fields |= {"image": entry.image.name.rsplit("/", 1)[-1], "size": entry.image.size}
        else:
            fields |= {"image": entry.image.rsplit("/", 1)[-1]}
        digest.update(json.dumps(fields).encode())
    return digest.hexdigest()
