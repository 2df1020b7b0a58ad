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
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError

from datasets import storage
from datasets.errors import run_command
from datasets.manifest import Manifest, Split, well_formed
from datasets.packing.shard_writer import Item, Part, Written, write_shards
from datasets.registry import import_plugins
from datasets.sources.options import PackOptions
from datasets.sources.records import Listed, Rejection, Source, SourceError, list_records, readers
from datasets.storage.progress import progress_bar
from datasets.vocabulary import Vocabulary

__all__ = ["PackOptions", "main", "pack", "read_source"]

_STATE = ".packing"  # folder under DEST with what is done of an unfinished pack


def pack(source: Source, dest: str, options: PackOptions | None = None, *, progress: bool = True) -> Manifest:
    """Write a source's records to `dest` as shards, captions, vocabulary and, last, the manifest.

    Images are cropped to their box, their shorter side is resized to 76/64 of the resolution; they are stored as JPEG.
    The training split is stored in a random order, which is the same every time, so that neighbours are no kin. Raises
    SourceError where too much is rejected or `dest` holds another dataset, StorageError for one out of reach.
    """
    options, listed = options or PackOptions(), list_records(source)
    accepted, vocabulary, rejected = _accept(listed)
    splits = {split: [item for item in accepted if item.record.split == split] for split in ("train", "test")}
    if not any(splits.values()):
        raise SourceError(f"{source.name}: no image is left to pack; {_reasons(rejected)}")
    identity = _identity(listed, options, vocabulary)
    state = storage.join(dest, _STATE)
    if (found := _already_packed(dest, identity)) is not None:
        storage.remove_folder(state)
        return found
    storage.make_folder(dest)
    limit = _Limit(listed, options, dest, rejected)
    limit.check()
    _same_or_new(state, identity, dest)
    storage.remove_partial(dest)
    parts = {split: _parts(dest, split, items, options) for split, items in splits.items() if items}
    everything = [part for of_split in parts.values() for part in of_split]
    with progress_bar(total=len(accepted), desc=f"pack {source.name}", unit="image", disable=not progress) as bar:
        written = write_shards(everything, state, options.processes, bar.update, limit.add)
    rejected += [rejection for part in everything for rejection in written[part.name].rejected]
    return _finish(listed, dest, options, vocabulary, parts, written, rejected, identity)


def _accept(source: Listed) -> tuple[list[Item], Vocabulary, list[Rejection]]:
    """The records that can be packed as far as can be seen without their images."""
    rejected = list(source.rejected)
    vocabulary = source.vocabulary or Vocabulary.build(c for record in source.records for c in record.captions)
    accepted: list[Item] = []
    positions = {"train": 0, "test": 0}
    seen: set[str] = set()
    for record in source.records:
        name = record.image.name
        if record.key in seen:
            rejected.append(Rejection(name, f"duplicate key {record.key}"))
            continue
        seen.add(record.key)
        kept = tuple(text for text in record.captions if vocabulary.encode(text))
        rejected += [
            Rejection(name, "the caption has no known word", text) for text in record.captions if text not in kept
        ]
        if not kept:
            rejected.append(Rejection(name, "no caption"))
            continue
        accepted.append(Item(replace(record, captions=kept), positions[record.split]))
        positions[record.split] += 1
    return accepted, vocabulary, rejected


def _parts(dest: str, split: str, items: Sequence[Item], options: PackOptions) -> list[Part]:
    order = np.random.default_rng(0).permutation(len(items)) if split == "train" else np.arange(len(items))
    arranged = [items[i] for i in order]
    size = options.shard_samples
    return [
        Part(dest, f"{split}-{number:06d}.tar", tuple(arranged[first : first + size]), options)
        for number, first in enumerate(range(0, len(arranged), size))
    ]


def _identity(source: Listed, options: PackOptions, vocabulary: Vocabulary) -> str:
    """A checksum of all that decides the packed bytes; of the photographs, their names and sizes."""
    digest = hashlib.sha256(vocabulary.to_json().encode())
    digest.update(options.model_dump_json(include={"resolution", "quality", "shard_samples"}).encode())
    for record in source.records:
        about = {**record.__dict__, "image": record.image.name.rsplit("/", 1)[-1], "size": record.image.size}
        digest.update(json.dumps(about).encode())
    return digest.hexdigest()


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

    def __init__(self, source: Listed, options: PackOptions, dest: str, rejected: list[Rejection]) -> None:
        self._dest, self._share, self._rejected = dest, options.max_rejected, list(rejected)
        named = {record.image.name for record in source.records} | {r.image for r in source.rejected}
        self._images = max(1, len(named))
        self._captions = max(1, sum(len(record.captions) for record in source.records))

    def add(self, rejected: Sequence[Rejection]) -> None:
        self._rejected += rejected
        if rejected:
            self.check()

    def check(self) -> None:
        captions = sum(r.caption is not None for r in self._rejected)
        images = len(self._rejected) - captions
        for count, total, what in ((images, self._images, "images"), (captions, self._captions, "captions")):
            if count > self._share * total:
                write_rejected(self._dest, self._rejected)
                storage.remove_folder(storage.join(self._dest, _STATE))  # the source will be another one
                raise SourceError(
                    f"{count} of {total} {what} rejected, more than max_rejected={self._share:g} allows; "
                    f"{_reasons(self._rejected)}; all in {storage.join(self._dest, 'rejected.jsonl')}"
                )


def _reasons(rejected: Sequence[Rejection]) -> str:
    return f"the first: {rejected[0].image}: {rejected[0].reason}" if rejected else "the source is empty"


def write_rejected(dest: str, rejected: Sequence[Rejection]) -> None:
    lines = [json.dumps({k: v for k, v in asdict(r).items() if v is not None}) + "\n" for r in rejected]
    storage.write_bytes(storage.join(dest, "rejected.jsonl"), "".join(lines).encode())


def _finish(
    source: Listed,
    dest: str,
    options: PackOptions,
    vocabulary: Vocabulary,
    parts: dict[str, list[Part]],
    written: dict[str, Written],
    rejected: Sequence[Rejection],
    identity: str,
) -> Manifest:
    """Captions, rejections, vocabulary and, when all that is there, the manifest."""
    splits: dict[str, Split] = {}
    for split, of_split in parts.items():
        kept = [part.items[i].record for part in of_split for i in written[part.name].kept]
        if not kept:
            continue
        texts = json.dumps([(record.key, record.class_id, record.captions) for record in kept]).encode()
        storage.write_bytes(storage.join(dest, f"{split}-captions.json"), texts)
        splits[split] = Split(
            samples=len(kept),
            captions=sum(len(record.captions) for record in kept),
            classes=len({record.class_id for record in kept}),
            shards=tuple(written[part.name].shard for part in of_split if written[part.name].kept),
            captions_sha256=hashlib.sha256(texts).hexdigest(),
        )
    if not splits:
        write_rejected(dest, rejected)
        raise SourceError(f"{source.name}: no image is left to pack; {_reasons(rejected)}")
    words = vocabulary.to_json().encode()
    storage.write_bytes(storage.join(dest, "vocabulary.json"), words)
    write_rejected(dest, rejected)
    manifest = Manifest(
        name=source.name,
        stored_size=options.stored_size,
        resolution=options.resolution,
        vocabulary_size=len(vocabulary),
        vocabulary_sha256=hashlib.sha256(words).hexdigest(),
        source_sha256=identity,
        rejected=len(rejected),
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
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SourceError(f"--set {assignment}: not a YAML value: {' '.join(str(error).split())}") from error
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
    for split, part in manifest.splits.items():
        print(f"{split}: {part.samples} images, {part.captions} captions, {part.classes} classes, ", end="")
        print(f"{len(part.shards)} shards, {sum(s.size for s in part.shards) / 1e6:.1f} MB")
    if manifest.rejected:
        print(f"rejected: {manifest.rejected}, listed in {storage.join(asked.dest, 'rejected.jsonl')}")
    print(f"packed to {asked.dest}")
    return 0
