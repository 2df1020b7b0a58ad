"""Packing a source: its units read into blobs, then the shards gathered from them.

Reading decodes and encodes every image once and puts it into a blob at DEST/.packing; storing gathers each shard's
samples from all blobs. Both are shared out to processes or to the tasks of a Ray cluster, write what is done as they
go, and go on after a kill. The bytes of a dataset are a function of the source and the options alone.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datasets import storage
from datasets.manifest import SPLIT_NAMES, Manifest, ManifestError, ShardTable, Split, load_manifest, write_manifest
from datasets.packing.arrange import Catalogue
from datasets.packing.decisions import Decisions, decide
from datasets.packing.gathering import Written, store_shards, stored_before
from datasets.packing.limit import check_hopeless, check_rejected, write_rejected
from datasets.packing.reading import Job, ReadUnit, read_unit
from datasets.packing.spool import ROW
from datasets.packing.tally import Tally
from datasets.packing.units import units_of
from datasets.packing.workers import Workers, workers
from datasets.sources.options import PackOptions
from datasets.sources.records import Rejection, Source, SourceError
from datasets.storage.progress import progress_bar
from datasets.vocabulary import Vocabulary

__all__ = ["PackOptions", "pack", "survey"]

_STATE = ".packing"  # folder under DEST with what is done of an unfinished pack
# What of the options decides the packed bytes.
_OF_THE_BYTES = {"resolution", "quality", "shard_samples", "background", "fit", "test_share"}


def pack(
    source: Source, dest: str, options: PackOptions | None = None, *, progress: bool = True, tasks: int = 0
) -> Manifest:
    """Write a source's records to `dest` as shards, captions, vocabulary and, last, the manifest.

    Images are cropped to their box and stored as JPEG, their shorter side 76/64 of the resolution. Every split is
    stored in a random order, which is the same every time, so that adjacent samples are unrelated. `tasks` at a time of
    a Ray cluster pack in place of this machine's processes. Raises SourceError where too much is rejected or `dest`
    holds another dataset, StorageError for one out of reach, WorkersError without Ray.
    """
    options = options or PackOptions()
    state = storage.join(dest, _STATE)
    if (found := _already_packed(source, dest, options)) is not None:
        storage.remove_folder(state)
        return found
    storage.make_folder(dest)
    _same_or_new(source, options, state, dest)
    storage.remove_partial(dest)
    job = Job(options, source.vocabulary, state)
    with (
        workers(options.processes, tasks) as hands,
        tempfile.TemporaryDirectory(prefix="dmgan-pack-") as scratch,
    ):
        read = _read(source, dest, job, hands, Path(scratch), progress)
        check_rejected(source.name, dest, options.max_rejected, read.tally, read.tally.rejections, state)
        decisions = decide(read.tally, options)
        written = _store(read, dest, job, decisions, hands, progress)
    rejected = [*read.tally.rejections, *(r for parts in written.values() for part in parts for r in part.rejected)]
    check_rejected(source.name, dest, options.max_rejected, read.tally, rejected, state)
    return _finish(source, dest, options, read, decisions, written, rejected)


def survey(source: Source, options: PackOptions, *, progress: bool = True) -> tuple[Tally, Decisions]:
    """What packing would find and decide: every image is read, nothing is written. Raises SourceError."""
    job, tally = Job(options, source.vocabulary, None), Tally()
    with (
        workers(options.processes) as hands,
        progress_bar(total=None, desc=f"look at {source.name}", unit="image", disable=not progress) as bar,
    ):
        for result in hands.results((read_unit, (unit, job, {})) for unit in units_of(source)):
            tally.add(result.tally)
            bar.update(result.tally.images)
    return tally, decide(tally, options)


@dataclass(frozen=True)
class _Read:
    """A source that was read."""

    tally: Tally
    identity: str
    rows: np.ndarray
    blobs: list[tuple[str, int, int]]  # in the source's order: name, first row, number of rows


def _read(source: Source, dest: str, job: Job, hands: Workers, scratch: Path, progress: bool) -> _Read:
    """Read the units into blobs, those of an earlier start as their notes say; what is where goes to a file in
    `scratch`.
    """
    assert job.state is not None
    there = defaultdict[str, dict[str, int]](dict)
    for name, size in storage.list_sizes(job.state).items():
        there[name[: len("unit-00000000")]][name] = size
    digest, tally, found = _digest(source, job.options), Tally(), list[tuple[int, str, int, int]]()

    def calls() -> Iterator[tuple[Callable[..., ReadUnit], tuple[object, ...]]]:
        for unit in units_of(source):
            digest.update(unit.identity.encode())
            yield read_unit, (unit, job, there.get(unit.name, {}))

    with (
        (scratch / "rows").open("wb") as file,
        progress_bar(total=None, desc=f"read {source.name}", unit="image", disable=not progress) as bar,
    ):
        count = 0
        for result in hands.results(calls()):
            tally.add(result.tally)
            for name, rows in result.blobs:
                file.write(rows.tobytes())
                found.append((result.unit, name, count, len(rows)))
                count += len(rows)
            bar.update(result.tally.images)
            check_hopeless(source.name, dest, tally)
    rows = np.memmap(scratch / "rows", ROW, mode="r") if count else np.empty(0, ROW)
    return _Read(tally, digest.hexdigest(), rows, [entry[1:] for entry in sorted(found)])


def _store(
    read: _Read, dest: str, job: Job, decisions: Decisions, hands: Workers, progress: bool
) -> dict[str, list[Written]]:
    """Store the shards of every split that has any, those of an earlier start as noted; by split, in order."""
    assert job.state is not None
    state, each = job.state, job.options.shard_samples
    there = storage.list_sizes(dest)
    catalogue, written = Catalogue(read.rows, read.blobs, decisions), dict[str, Written]()

    def calls() -> Iterator[tuple[Callable[..., list[Written]], tuple[object, ...]]]:
        for split in SPLIT_NAMES:
            for gathering in catalogue.gatherings(split, each):
                before = [stored_before(shard, dest, state, read.identity, there) for shard in gathering.shards]
                for shard in filter(None, before):
                    written[shard.shard.name] = shard
                    bar.update(shard.shard.samples)
                missing = tuple(s for s, b in zip(gathering.shards, before, strict=True) if b is None)
                if missing:
                    yield store_shards, (replace(gathering, shards=missing), dest, state, decisions, read.identity)

    with progress_bar(total=len(read.rows), desc="store shards", unit="image", disable=not progress) as bar:
        for results in hands.results(calls()):
            for result in results:
                written[result.shard.name] = result
                bar.update(result.shard.samples)
    by_split: dict[str, list[Written]] = {}
    for name in sorted(written):
        by_split.setdefault(name.partition("-")[0], []).append(written[name])
    return {split: by_split[split] for split in SPLIT_NAMES if split in by_split}


def _digest(source: Source, options: PackOptions) -> hashlib._Hash:
    """A checksum of all that decides the packed bytes, less the units'."""
    digest = hashlib.sha256(options.model_dump_json(include=_OF_THE_BYTES).encode())
    if source.vocabulary is not None:
        digest.update(source.vocabulary.to_json().encode())
    return digest


def _already_packed(source: Source, dest: str, options: PackOptions) -> Manifest | None:
    """The dataset that is there, if it is this one and whole. Raises SourceError where it is another."""
    if not storage.exists(storage.join(dest, "manifest.json")):
        return None
    there = storage.list_sizes(dest)
    try:
        manifest, _ = load_manifest(dest)
    except storage.MissingError:
        return None  # what is not there is packed again
    except ManifestError as error:
        raise SourceError(f"{error}; to pack there, remove it, or choose another DEST") from None
    digest = _digest(source, options)
    for unit in units_of(source):
        digest.update(unit.identity.encode())
    if manifest.source_sha256 != digest.hexdigest():
        raise SourceError(f"{dest}: holds another dataset, or of other settings ({manifest.name}); choose another DEST")
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    whole = all(there.get(s.name) == s.size and {s.index, s.captions} <= there.keys() for s in shards)
    return manifest if whole else None


def _same_or_new(source: Source, options: PackOptions, state: str, dest: str) -> None:
    """An unfinished pack goes on only as what it was begun as."""
    location, identity = storage.join(state, "identity"), f"{source.name} {_digest(source, options).hexdigest()}"
    if not storage.exists(location):
        storage.write_bytes(location, identity.encode())
    elif storage.read_bytes(location).decode() != identity:
        raise SourceError(
            f"{dest}: holds an unfinished pack of another source or other settings; finish it, remove {state}, "
            "or choose another DEST"
        )


def _finish(
    source: Source,
    dest: str,
    options: PackOptions,
    read: _Read,
    decisions: Decisions,
    written: dict[str, list[Written]],
    rejected: Sequence[Rejection],
) -> Manifest:
    """Rejections, vocabulary and, when all that is there, the manifest."""
    write_rejected(dest, rejected)
    vocabulary = source.vocabulary or Vocabulary.of(read.tally.words)
    words = vocabulary.to_json().encode()
    storage.write_bytes(storage.join(dest, "vocabulary.json"), words)
    manifest = Manifest(
        name=source.name,
        stored_size=options.stored_size,
        resolution=options.resolution,
        fit=options.fit,
        vocabulary_size=len(vocabulary),
        vocabulary_sha256=hashlib.sha256(words).hexdigest(),
        source_sha256=read.identity,
        rejected=len(rejected),
        notes=decisions.notes,
        splits={split: _split(split, parts) for split, parts in written.items()},
    )
    write_manifest(dest, manifest)
    storage.remove_folder(storage.join(dest, _STATE))
    return manifest


def _split(name: str, parts: list[Written]) -> Split:
    return Split(
        samples=sum(part.shard.samples for part in parts),
        captions=sum(part.captions for part in parts),
        classes=sum(part.alone for part in parts) + len({number for part in parts for number in part.classes}),
        shards=ShardTable.of(name, [part.shard for part in parts]),
    )
