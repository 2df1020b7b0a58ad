"""Reading a unit of a source: images decoded, fitted and encoded; what cannot be packed set aside with the reason."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps
from pydantic import TypeAdapter

from datasets import storage
from datasets.errors import short_reason
from datasets.packing.pixels import fitted, is_strip, outside_square, to_rgb
from datasets.packing.spool import Spooled, draw_of, place_of, read_rows, write_blob
from datasets.packing.tally import SplitTally, Tally
from datasets.packing.units import Unit
from datasets.sources.options import PackOptions
from datasets.sources.records import Note, Record, Rejection, crop_to_box
from datasets.vocabulary import Vocabulary, tokenize

__all__ = ["Job", "ReadUnit", "read_unit"]

_BLOB_SAMPLES, _BLOB_BYTES = 4096, 64 << 20  # what a process holds


@dataclass(frozen=True)
class Job:
    """What a pack is told."""

    options: PackOptions
    vocabulary: Vocabulary | None  # where the source fixes it
    state: str | None  # folder of the blobs; None: only count


@dataclass(frozen=True)
class ReadUnit:
    """A unit that was read."""

    unit: int
    tally: Tally
    blobs: tuple[tuple[str, np.ndarray], ...]  # names in the state folder, and what is where in them


@dataclass(frozen=True)
class _Noted:
    """The file that says that a unit is done."""

    identity: str
    blobs: tuple[str, ...]
    tally: Tally


_NOTED = TypeAdapter(_Noted)


def read_unit(unit: Unit, job: Job, there: dict[str, int]) -> ReadUnit:
    """Read a unit into blobs, unless an earlier start has: its files are `there`. Raises SourceError, StorageError."""
    if job.state is not None and (before := _earlier(unit, job.state, there)) is not None:
        return before
    reading = _Reading(unit, job)
    for entry in unit.read():
        if isinstance(entry, Note):
            reading.tally.notes.setdefault(unit.number, []).append(entry.text)
        elif isinstance(entry, Rejection):
            reading.reject(entry)
        else:
            reading.add(entry)
    reading.flush()
    if job.state is not None:
        noted = _Noted(unit.identity, tuple(name for name, _ in reading.blobs), reading.tally)
        storage.write_bytes(storage.join(job.state, f"{unit.name}.json"), _NOTED.dump_json(noted))
    return ReadUnit(unit.number, reading.tally, tuple(reading.blobs))


def _earlier(unit: Unit, state: str, there: dict[str, int]) -> ReadUnit | None:
    """What an earlier start read of the same unit, with these files; None where it did not or it is damaged."""
    if f"{unit.name}.json" not in there:
        return None
    try:
        noted: _Noted = _NOTED.validate_json(storage.read_bytes(storage.join(state, f"{unit.name}.json")))
        if noted.identity != unit.identity:
            return None
        blobs = tuple((name, read_rows(storage.join(state, name))) for name in noted.blobs)
    except (ValueError, storage.MissingError):
        return None
    sizes = all(there.get(f"{name}.bin") == int(rows["size"].sum()) for name, rows in blobs)
    return ReadUnit(unit.number, noted.tally, blobs) if sizes else None


class _Reading:
    """What has been read of a unit so far."""

    def __init__(self, unit: Unit, job: Job) -> None:
        self._unit, self._job = unit, job
        self.tally = Tally()
        self.blobs: list[tuple[str, np.ndarray]] = []
        self._samples: list[tuple[str, Spooled]] = []
        self._bytes = 0

    def reject(self, rejection: Rejection) -> None:
        if rejection.caption is None:
            self.tally.images += 1
        else:
            self.tally.captions += 1
        self._leave_out(rejection)

    def add(self, record: Record) -> None:
        self.tally.images += 1
        self.tally.captions += len(record.captions)
        name = record.image.name
        words = {text: tokenize(text) for text in record.captions}
        kept = tuple(text for text in record.captions if self._is_known(text, words[text]))
        for text in record.captions:
            if text not in kept:
                self._leave_out(Rejection(name, "the caption has no known word", text))
        if not kept:
            self._leave_out(Rejection(name, "no caption"))
            return
        try:
            jpg = self._encode(record)
        except storage.StorageError:  # a bucket that is away says nothing of the image
            raise
        except Exception as error:  # a damaged image makes a decoder raise anything
            self._leave_out(Rejection(name, f"not a readable image: {short_reason(error, None)}"))
            return
        split, place = record.split or self._drawn_split(record.key), place_of(record.key)
        self._count(record, split, {text: words[text] for text in kept}, len(kept))
        sample = Spooled(place, record.key, name, kept, record.class_name, record.class_id, jpg)
        self._samples.append((split, sample))
        self._bytes += len(jpg)
        if len(self._samples) >= _BLOB_SAMPLES or self._bytes >= _BLOB_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held as a blob."""
        if self._job.state is not None and self._samples:
            name = f"{self._unit.name}-{len(self.blobs):04d}"
            self.blobs.append((name, write_blob(storage.join(self._job.state, name), self._samples)))
        self._samples, self._bytes = [], 0

    def _leave_out(self, rejection: Rejection) -> None:
        self.tally.rejected.setdefault(self._unit.number, []).append(rejection)

    def _is_known(self, text: str, words: list[str]) -> bool:
        return bool(words if self._job.vocabulary is None else self._job.vocabulary.encode(text))

    def _drawn_split(self, key: str) -> str:
        draw = draw_of(key)
        self.tally.drawn += 1
        self.tally.nearest = min(filter(None, (self.tally.nearest, (draw, place_of(key)))))
        return "test" if draw < self._job.options.test_share * 2**64 else "train"

    def _count(self, record: Record, split: str, words: dict[str, list[str]], captions: int) -> None:
        counts = self.tally.splits.setdefault(split, SplitTally())
        counts.samples += 1
        counts.captions += captions
        if record.class_name or record.class_id is not None:
            counts.classes.add((record.class_id, record.class_name))
        else:
            counts.alone += 1
        for text, found in words.items():
            self.tally.lengths[len(found)] += 1
            if self._job.vocabulary is None:
                self.tally.words.update(found)
            else:
                self.tally.unknown.update(self._job.vocabulary.unknown(text))

    def _encode(self, record: Record) -> bytes:
        """The record's image, cropped and fitted, as JPEG. Raises what Pillow raises."""
        options = self._job.options
        with record.image.open() as file, Image.open(file) as opened:
            opened.load()
            turned = ImageOps.exif_transpose(opened) if record.upright else opened
            turned.format = opened.format
            image = to_rgb(turned, options.background)
        if record.box is not None:
            try:
                image = crop_to_box(image, record.box)
            except ValueError:  # Pillow's words speak of coordinates alone
                image = Image.new("RGB", (0, 0))
        if min(image.size) == 0:
            raise ValueError(f"nothing is left of it in its box {record.box}")
        self.tally.measured += 1
        self.tally.outside += round(outside_square(image.size) * 1e6)
        self.tally.strips += options.fit == "crop" and is_strip(image.size)
        if self._job.state is None:
            return b""
        buffer = io.BytesIO()
        fitted(image, options).save(buffer, "JPEG", quality=options.quality)
        return buffer.getvalue()
