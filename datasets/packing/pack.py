"""python -m datasets.pack cub|coco|folder|birds SOURCE DEST: captioned images into tar shards and a manifest.

    cub     CUB-200-2011 and its captions (see `datasets.sources.cub`)
    coco    COCO 2014 and its captions (see `datasets.sources.coco`)
    folder  any folder of images with a JSONL or CSV of captions (see `datasets.sources.folder`)
    birds   a folder in which the drawn birds are made if they are not there yet (see `datasets.sources.birds`)

DEST is a folder or s3://bucket/path. Its manifest appears last, when everything it names is there. A pack that was
killed goes on where it was when it is started again, to the same bytes. What is left out is listed in
DEST/rejected.jsonl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from datasets import storage
from datasets.documents import parse_yaml, short
from datasets.errors import run_command
from datasets.manifest import SPLIT_NAMES, Captions, Manifest, Split, SplitCaptions, well_formed
from datasets.packing.plan import Plan, plan_of
from datasets.packing.shard_writer import Item, Part, Written, write_shards
from datasets.registry import import_plugins
from datasets.sources.options import PackOptions
from datasets.sources.records import Listed, Rejection, Source, SourceError, list_records, readers
from datasets.storage.progress import progress_bar

__all__ = ["PackOptions", "main", "pack", "read_source"]

_STATE = ".packing"  # folder under DEST with what is done of an unfinished pack


def pack(source: Source, dest: str, options: PackOptions | None = None, *, progress: bool = True) -> Manifest:
    """Write a source's records to `dest` as shards, captions, vocabulary and, last, the manifest.

    Images are cropped to their box, their shorter side is resized to 76/64 of the resolution; they are stored as JPEG.
    The training split is stored in a random order, which is the same every time, so that adjacent samples are
    unrelated. Raises SourceError where too much is rejected or `dest` holds another dataset, StorageError for one out
    of reach.
    """
    listed = list_records(source)
    plan = plan_of(listed, dest, options or PackOptions())
    state = storage.join(dest, _STATE)
    if (found := _already_packed(dest, plan.identity)) is not None:
        storage.remove_folder(state)
        return found
    storage.make_folder(dest)
    if not plan.splits:
        raise _nothing_left(plan, plan.rejected)
    limit = _Limit(listed, plan)
    limit.check()
    _same_or_new(state, plan.identity, dest)
    storage.remove_partial(dest)
    parts = {split: _parts(dest, split, items, plan.options) for split, items in plan.splits.items()}
    everything = [part for of_split in parts.values() for part in of_split]
    images = sum(map(len, plan.splits.values()))
    with progress_bar(total=images, desc=f"pack {source.name}", unit="image", disable=not progress) as bar:
        written = write_shards(everything, state, plan.options.processes, bar.update, limit.add)
    return _finish(plan, parts, written)


def _parts(dest: str, split: str, items: Sequence[Item], options: PackOptions) -> list[Part]:
    order = np.random.default_rng(0).permutation(len(items)) if split == "train" else np.arange(len(items))
    arranged = [items[i] for i in order]
    size = options.shard_samples
    return [
        Part(dest, f"{split}-{number:06d}.tar", tuple(arranged[first : first + size]), options)
        for number, first in enumerate(range(0, len(arranged), size))
    ]


def _already_packed(dest: str, identity: str) -> Manifest | None:
    location = storage.join(dest, "manifest.json")
    if not storage.exists(location):
        return None
    with well_formed(location, "a dataset manifest"):
        manifest = Manifest.from_json(storage.read_bytes(location))
    if manifest.source_sha256 != identity:
        raise SourceError(f"{dest}: holds another dataset, or of other settings ({manifest.name}); choose another DEST")
    there = storage.list_sizes(dest)
    whole = all(there.get(shard.name) == shard.size for split in manifest.splits.values() for shard in split.shards)
    return manifest if whole else None  # what is not there is packed again


def _same_or_new(state: str, identity: str, dest: str) -> None:
    """An unfinished pack goes on only as what it was begun as."""
    location = storage.join(state, "identity")
    if not storage.exists(location):
        storage.write_bytes(location, identity.encode())
    elif storage.read_bytes(location).decode() != identity:
        raise SourceError(
            f"{dest}: holds an unfinished pack of another source or other settings; finish it, remove {state}, "
            "or choose another DEST"
        )


class _Limit:
    """Counts rejections; too many end the pack, with rejected.jsonl written."""

    def __init__(self, source: Listed, plan: Plan) -> None:
        self._dest, self._share, self._rejected = plan.dest, plan.options.max_rejected, list(plan.rejected)
        named = {record.image.name for record in source.records} | {r.image for r in source.rejected}
        self._images = max(1, len(named))
        without = sum(r.caption is not None for r in source.rejected)  # captions that no record has any more
        self._captions = max(1, without + sum(len(record.captions) for record in source.records))

    def add(self, rejected: Sequence[Rejection]) -> None:
        self._rejected += rejected
        if rejected:
            self.check()

    def check(self) -> None:
        captions = sum(r.caption is not None for r in self._rejected)
        images = len(self._rejected) - captions
        for left_out, total, what in ((images, self._images, "images"), (captions, self._captions, "captions")):
            if left_out > self._share * total:
                write_rejected(self._dest, self._rejected)
                storage.remove_folder(storage.join(self._dest, _STATE))  # the source will be another one
                raise SourceError(
                    f"{left_out} of {total} {what} rejected, more than max_rejected={self._share:g} allows; "
                    f"{_reasons(self._rejected)}; all in {storage.join(self._dest, 'rejected.jsonl')}"
                )


def _reasons(rejected: Sequence[Rejection]) -> str:
    return f"the first: {rejected[0].image}: {rejected[0].reason}" if rejected else "the source is empty"


def write_rejected(dest: str, rejected: Sequence[Rejection]) -> None:
    lines = [json.dumps({k: v for k, v in asdict(r).items() if v is not None}) + "\n" for r in rejected]
    storage.write_bytes(storage.join(dest, "rejected.jsonl"), "".join(lines).encode())


def _nothing_left(plan: Plan, rejected: Sequence[Rejection]) -> SourceError:
    write_rejected(plan.dest, rejected)
    listed = f"; all in {storage.join(plan.dest, 'rejected.jsonl')}" if rejected else ""
    return SourceError(f"{plan.name}: no image is left to pack; {_reasons(rejected)}{listed}")


def _finish(plan: Plan, parts: dict[str, list[Part]], written: dict[str, Written]) -> Manifest:
    """Captions, rejections, vocabulary and, when all that is there, the manifest."""
    dest, splits = plan.dest, dict[str, Split]()
    rejected = [
        *plan.rejected,
        *(r for of_split in parts.values() for part in of_split for r in written[part.name].rejected),
    ]
    for split, of_split in parts.items():
        kept = [part.items[i].record for part in of_split for i in written[part.name].kept]
        if not kept:
            continue
        texts = SplitCaptions(
            [Captions(record.key, record.class_id, record.captions) for record in kept],
            {r.class_id: r.class_name or r.key.rpartition("/")[0] or str(r.class_id) for r in kept},
        ).to_json()
        storage.write_bytes(storage.join(dest, f"{split}-captions.json"), texts)
        splits[split] = Split(
            samples=len(kept),
            captions=sum(len(record.captions) for record in kept),
            classes=len({record.class_id for record in kept}),
            shards=tuple(written[part.name].shard for part in of_split if written[part.name].kept),
            captions_sha256=hashlib.sha256(texts).hexdigest(),
        )
    if not splits:
        raise _nothing_left(plan, rejected)
    unread = tuple(f"no {SPLIT_NAMES[split]} image could be read" for split in parts if split not in splits)
    words = plan.vocabulary.to_json().encode()
    storage.write_bytes(storage.join(dest, "vocabulary.json"), words)
    write_rejected(dest, rejected)
    manifest = Manifest(
        name=plan.name,
        stored_size=plan.options.stored_size,
        resolution=plan.options.resolution,
        vocabulary_size=len(plan.vocabulary),
        vocabulary_sha256=hashlib.sha256(words).hexdigest(),
        source_sha256=plan.identity,
        rejected=len(rejected),
        notes=plan.notes + unread,
        splits=splits,
    )
    storage.write_bytes(storage.join(dest, "manifest.json"), manifest.to_json().encode())
    storage.remove_folder(storage.join(dest, _STATE))
    return manifest


def read_source(name: str, source: Path, options: PackOptions) -> Source:
    """SOURCE by the reader of that format. Raises SourceError, UnknownNameError, PluginError."""
    import_plugins(options.plugins)
    return readers.get(name)(source, options)


def parse_options(kind: str, assignments: Sequence[str]) -> PackOptions:
    """Raises SourceError for what is no KEY=VALUE of `PackOptions`."""
    values: dict[str, Any] = {"resolution": 64} if kind == "birds" else {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or key not in PackOptions.model_fields:
            raise SourceError(
                f"--set {assignment}: expected KEY=VALUE with one of {', '.join(PackOptions.model_fields)}"
            )
        if not value.strip():
            raise SourceError(f"--set {assignment}: no value; expected KEY=VALUE, and null for none")
        values[key] = parse_yaml(value, f"--set {short(assignment)}", SourceError)
    try:
        return PackOptions(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise SourceError(f"--set {first['loc'][0]}={first['input']}: {first['msg'].lower()}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.pack",
        description=__doc__,
        epilog="keys of --set:\n"
        + "\n".join(f"  {k:14} {f.description} ({f.default})" for k, f in PackOptions.model_fields.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "format", metavar="FORMAT", help=f"{', '.join(readers.names())}, or one that a plugin registers"
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("dest")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="repeatable; see below")
    asked = parser.parse_args(arguments)
    return run_command("datasets.pack", partial(_carry_out, asked))


def _carry_out(asked: argparse.Namespace) -> int:
    options = parse_options(asked.format, asked.set)
    manifest = pack(read_source(asked.format, asked.source, options), asked.dest, options)
    for note in manifest.notes:
        print(f"note: {note}")
    for split, part in manifest.splits.items():
        print(f"{split}: {part.samples} images, {part.captions} captions, {part.classes} classes, ", end="")
        print(f"{len(part.shards)} shards, {sum(s.size for s in part.shards) / 1e6:.1f} MB")
    if manifest.rejected:
        print(f"rejected: {manifest.rejected}, listed in {storage.join(asked.dest, 'rejected.jsonl')}")
    print(f"packed to {asked.dest}")
    return 0
