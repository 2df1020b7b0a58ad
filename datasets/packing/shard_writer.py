"""Writing the shards of a pack: over processes, each shard once, so that a killed pack goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass
from typing import Any

import webdataset
from PIL import Image, ImageOps
from pydantic import TypeAdapter

from datasets import storage
from datasets.manifest import Shard
from datasets.packing.pixels import to_rgb
from datasets.sources.options import PackOptions
from datasets.sources.records import Record, Rejection, crop_to_box
from datasets.storage.processes import context, process_pool

__all__ = ["Item", "Part", "Written", "write_shards"]

_SHARD = TypeAdapter(Shard)


@dataclass(frozen=True)
class Item:
    record: Record
    index: int  # in its split, rejected images included


@dataclass(frozen=True)
class Part:
    """The items of one shard, and where it goes."""

    dest: str
    name: str
    items: tuple[Item, ...]
    options: PackOptions


@dataclass(frozen=True)
class Written:
    """One shard as it is in storage, and what of its part is not in it."""

    shard: Shard
    kept: tuple[int, ...]  # positions of the stored items in the part
    rejected: tuple[Rejection, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> Written:
        raw = json.loads(text)
        rejected = tuple(Rejection(**entry) for entry in raw["rejected"])
        return cls(_SHARD.validate_json(json.dumps(raw["shard"])), tuple(raw["kept"]), rejected)


def write_shards(
    parts: Sequence[Part],
    state: str,
    processes: int,
    advance: Callable[[int], Any],
    on_rejected: Callable[[Sequence[Rejection]], None],
) -> dict[str, Written]:
    """Every part's shard, by its name; those of an earlier start as their notes in the folder `state` say.

    `advance` is told how many images more are done. Raises StorageError and what `on_rejected` raises.
    """
    notes = storage.list_sizes(state)
    there = storage.list_sizes(parts[0].dest)
    written: dict[str, Written] = {}
    waiting = []
    for part in parts:
        note = _noted(storage.join(state, f"{part.name}.json")) if f"{part.name}.json" in notes else None
        if note is not None and (not note.kept or there.get(part.name) == note.shard.size):
            written[part.name] = note
            on_rejected(note.rejected)
            advance(len(part.items))
        else:
            waiting.append(part)
    count = min(processes or len(os.sched_getaffinity(0)), len(waiting))
    for result in _in_processes(waiting, count, advance) if count > 1 else _in_turn(waiting, advance):
        written[result.shard.name] = result
        on_rejected(result.rejected)
        storage.write_bytes(storage.join(state, f"{result.shard.name}.json"), result.to_json().encode())
    return written


def _noted(location: str) -> Written | None:
    """What a note of an earlier start says; None if it is damaged."""
    try:
        return Written.from_json(storage.read_bytes(location))
    except (ValueError, KeyError, TypeError):
        return None


def _in_turn(parts: Sequence[Part], advance: Callable[[int], Any]) -> Iterator[Written]:
    for part in parts:
        yield _write_shard(part, advance)


def _in_processes(parts: Sequence[Part], processes: int, advance: Callable[[int], Any]) -> Iterator[Written]:
    """The parts' results as they come; a few wait at each process, so that memory stays bounded."""
    counter, shown = context().Value("q", 0), 0
    with process_pool(processes, _count_in, counter) as pool:
        queue, running = iter(parts), set[Future[Written]]()
        try:
            while True:
                while len(running) < 2 * processes and (part := next(queue, None)) is not None:
                    running.add(pool.submit(_write_shard_counted, part))
                if not running:
                    return
                finished, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                advance(counter.value - shown)
                shown = counter.value
                yield from (future.result() for future in finished)
        finally:
            pool.shutdown(cancel_futures=True)


_counter: Any = None  # of a pool's process: images done by all


def _count_in(counter: Any) -> None:
    global _counter
    _counter = counter


def _write_shard_counted(part: Part) -> Written:
    def advance(images: int) -> None:
        with _counter.get_lock():
            _counter.value += images

    return _write_shard(part, advance)


def _write_shard(part: Part, advance: Callable[[int], Any]) -> Written:
    buffer = io.BytesIO()
    offsets: list[int] = []
    kept: list[int] = []
    rejected: list[Rejection] = []
    with webdataset.TarWriter(buffer, mtime=0) as tar:
        for position, item in enumerate(part.items):
            record = item.record
            try:
                image = _encode(record, part.options)
            except Exception as error:  # a damaged image makes a decoder raise anything
                reason = " ".join(str(error).split()) or type(error).__name__
                rejected.append(Rejection(record.image.name, f"not a readable image: {reason}"))
                continue
            finally:
                advance(1)
            offsets.append(tar.tarstream.offset)
            kept.append(position)
            fields = {
                "key": record.key,
                "index": item.index,
                "class": record.class_id,
                "captions": record.captions,
            }
            tar.write({"__key__": record.key, "jpg": image, "json": json.dumps(fields).encode()})
    content = buffer.getvalue()
    if offsets:
        storage.write_bytes(storage.join(part.dest, part.name), content)
    ends = [*offsets[1:], len(content)]
    sums = tuple(zlib.crc32(content[a:b]) for a, b in zip(offsets, ends, strict=False))
    shard = Shard(part.name, hashlib.sha256(content).hexdigest(), len(content), tuple(offsets), sums)
    return Written(shard, tuple(kept), tuple(rejected))


def _encode(record: Record, options: PackOptions) -> bytes:
    """The record's image, cropped and resized, as JPEG. Raises what Pillow raises."""
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
    stored = options.stored_size
    scale = stored / min(image.size)
    size = (max(stored, round(image.width * scale)), max(stored, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=options.quality)
    return buffer.getvalue()
