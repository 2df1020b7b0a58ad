"""python -m datasets.pack [FORMAT] SOURCE DEST: captioned images into tar shards and a manifest.

FORMAT is the layout of SOURCE, docs/data.md lists them; without it, or with `auto`, it is found by looking at SOURCE.
SOURCE and DEST are folders or s3://bucket/path. DEST's manifest appears last, when everything it names is there. A pack
that was killed goes on where it was when it is started again, to the same bytes. What is left out is listed in
DEST/rejected.jsonl. --dry-run reads everything and writes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any

from pydantic import ValidationError

from datasets import storage
from datasets.documents import parse_yaml, short
from datasets.errors import run_command
from datasets.manifest import SPLIT_NAMES
from datasets.packing.pack import pack, survey
from datasets.registry import import_plugins
from datasets.sources.options import PackOptions
from datasets.sources.place import place
from datasets.sources.recognition import recognise
from datasets.sources.records import Source, SourceError, readers

__all__ = ["main", "parse_options", "read_source"]


def read_source(name: str, source: str, options: PackOptions) -> Source:
    """SOURCE by the reader of that format, or of the one it looks like for `auto`.

    Raises SourceError, StorageError, UnknownNameError, PluginError.
    """
    import_plugins(options.plugins)
    where = place(source)
    if name == "auto":
        name, why = recognise(where)
        print(f"format: {name} ({why})", flush=True)
    return readers.get(name).read(where, options)


def parse_options(kind: str, assignments: Sequence[str]) -> PackOptions:
    """Raises SourceError for what is no KEY=VALUE of `PackOptions`."""
    own = readers.get(kind).resolution if kind in readers.names() else None
    values: dict[str, Any] = {} if own is None else {"resolution": own}
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
        usage="python -m datasets.pack [FORMAT] SOURCE DEST [options]",
        description=__doc__,
        epilog="keys of --set:\n"
        + "\n".join(f"  {k:14} {f.description} ({f.default})" for k, f in PackOptions.model_fields.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "places",
        nargs="+",
        metavar="[FORMAT] SOURCE DEST",
        help=f"FORMAT: auto, {', '.join(readers.names())}, or one that a plugin registers",
    )
    parser.add_argument("--format", help="the same as FORMAT")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="repeatable; see below")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="pack with N tasks of a Ray cluster")
    parser.add_argument("--dry-run", action="store_true", help="say what would be packed; DEST may be left out")
    parser.add_argument("--batch-size", type=int, default=10, help="images a step, for what --dry-run says of an epoch")
    asked = parser.parse_args(arguments)
    return run_command("datasets.pack", partial(_carry_out, asked))


def _carry_out(asked: argparse.Namespace) -> int:
    kind, source, dest = _places(asked)
    if asked.workers < 0 or asked.batch_size < 1:
        raise SourceError(f"--workers {asked.workers}, --batch-size {asked.batch_size}: expected positive numbers")
    options = parse_options(kind, asked.set)
    found = read_source(kind, source, options)
    if asked.dry_run:
        print("\n".join(_survey(found, options, asked.batch_size)))
        return 0
    manifest = pack(found, dest, options, tasks=asked.workers)
    for note in manifest.notes:
        print(f"note: {note}")
    for split, part in manifest.splits.items():
        print(f"{split}: {part.samples} images, {part.captions} captions, {part.classes} classes, ", end="")
        print(f"{len(part.shards)} shards, {part.size / 1e6:.1f} MB")
    if manifest.rejected:
        print(f"rejected: {manifest.rejected}, listed in {storage.join(dest, 'rejected.jsonl')}")
    print(f"packed to {dest}")
    return 0


def _places(asked: argparse.Namespace) -> tuple[str, str, str]:
    """FORMAT, SOURCE and DEST."""
    places = list(asked.places)
    most = 3 if asked.format is None else 2
    fewest = 1 if asked.dry_run else 2
    if not fewest <= len(places) <= most:
        raise SourceError(f"{' '.join(places)}: expected [FORMAT] SOURCE DEST")
    known = len(places) == 3 or (asked.dry_run and len(places) == 2 and places[0] in ("auto", *readers.names()))
    kind = asked.format or (places.pop(0) if known else "auto")
    return kind, places[0], places[1] if len(places) > 1 else ""


def _survey(source: Source, options: PackOptions, batch_size: int) -> list[str]:
    """What a pack would find, a line each."""
    tally, decisions = survey(source, options)
    lines = [f"note: {note}" for note in decisions.notes]
    for split in SPLIT_NAMES:
        if (counts := tally.of(split)).samples:
            becomes = decisions.renamed[split]
            lines.append(
                f"{becomes}: {counts.samples} images, {counts.captions} captions, "
                f"{counts.alone + len(counts.classes)} classes"
            )
            if becomes == "train":
                lines.append(f"an epoch: {counts.samples // batch_size} steps of {batch_size} images")
    if tally.lengths:
        lengths = sorted(tally.lengths)
        below = accumulate(tally.lengths[length] for length in lengths)
        half = tally.lengths.total() / 2
        middle = next(length for length, count in zip(lengths, below, strict=True) if count >= half)
        lines.append(f"captions: {lengths[0]} to {lengths[-1]} words, half of them {middle} or fewer")
    vocabulary = len(source.vocabulary) - 1 if source.vocabulary is not None else len(tally.words)
    lines.append(f"vocabulary: {vocabulary} words")
    rejected = tally.rejections
    lines.append(f"rejected: {len(rejected)} of {tally.images} images and {tally.captions} captions")
    lines += [f"  {entry.image}: {entry.reason}" for entry in rejected[:10]]
    lines += [f"  and {len(rejected) - 10} more"] if len(rejected) > 10 else []
    return lines
