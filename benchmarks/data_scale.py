"""python -m benchmarks.data_scale: shards, requests and bandwidth for large datasets, from measured sizes and rates.

`--image-bytes` is a stored image as `benchmarks.data` prints it, `--rate` what one GPU trains in images/s. What a
worker does before its first batch's bytes are known is measured on datasets without shards: reading the manifest and
the table of shards, planning the epoch, reading the indexes of the first block. Prints the tables of docs/data.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from datasets.index import index_bytes, load_index
from datasets.manifest import Manifest, Shard, ShardTable, Split, load_manifest, write_manifest
from datasets.plan import BLOCK_SAMPLES, plan_epoch, segments
from datasets.storage.processes import process_pool
from datasets.vocabulary import Vocabulary

STORED_BYTES = 47616  # a sample in a shard
CAPTIONS_BYTES = 2500  # a sample's JSON: ten captions as text and as numbers
SHARD_BYTES = 512e6  # where shards stop growing: a few seconds to read, far below what one PUT may hold


def shard_samples(images: int, sample_bytes: float) -> int:
    """Images a shard: a thousand shards, of at least 1,000 images and at most half a gigabyte."""
    return int(min(max(1000, images / 1000), SHARD_BYTES / sample_bytes) // 1000 * 1000)


@dataclass(frozen=True)
class Start:
    """What a worker needs until it knows which bytes its first batch is."""

    samples: int
    shards: int
    manifest_bytes: int
    load_seconds: float
    plan_seconds: float
    index_seconds: float
    megabytes: float  # by which the process grew

    @property
    def seconds(self) -> float:
        return self.load_seconds + self.plan_seconds + self.index_seconds


def synthetic(folder: Path, samples: int, each: int) -> str:
    """A dataset of so many samples without its shards: manifest, shards' table, vocabulary, and one index for all."""
    count = samples // each
    offsets = [i * STORED_BYTES for i in range(each)]
    index = index_bytes(offsets, [0] * each)
    rows = ShardTable.of("train", [Shard("", each, each * STORED_BYTES, "0" * 64, _sha256(index), "0" * 64)]).rows
    table = ShardTable("train", np.repeat(rows, count))
    (folder / "index.npy").write_bytes(index)
    words = Vocabulary.of(["a", "bird"]).to_json().encode()
    (folder / "vocabulary.json").write_bytes(words)
    split = Split(count * each, 10 * count * each, 1, table)
    write_manifest(str(folder), Manifest("synthetic", 304, 256, 3, _sha256(words), "", splits={"train": split}))
    return str(folder)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def start_costs(samples: int, each: int, workers: int) -> Start:
    """Measured in a process of its own: from the manifest to the bytes of worker 0's first block."""
    with tempfile.TemporaryDirectory() as folder:
        url = synthetic(Path(folder), samples, each)
        size = sum(path.stat().st_size for path in Path(folder).glob("*") if path.name != "index.npy")
        with process_pool(1, _nothing) as pool:
            found = pool.submit(_start, url, workers).result()
    return Start(samples, samples // each, size, *found)


def _nothing() -> None:
    """A process of the pool needs no preparation."""


def _start(url: str, workers: int) -> tuple[float, float, float, float]:
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    split = load_manifest(url)[0].split("train")
    loaded = time.perf_counter()
    block = plan_epoch(split, rank=0, world_size=workers)[0]
    planned = time.perf_counter()
    for segment in segments(split, block):
        shard = split.shards[segment.shard]
        place = Path(url) / shard.index
        place.symlink_to(Path(url) / "index.npy")
        load_index(url, shard).span(segment.first, segment.last)
    ended = time.perf_counter()
    grown = (process.memory_info().rss - before) / 1e6
    return loaded - began, planned - loaded, ended - planned, grown


def starts_table(sample_bytes: float, workers: int) -> tuple[list[str], list[Start]]:
    lines = [
        "| images | images a shard | shards | a shard | all | manifest and table | read | plan | index | memory |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    starts = []
    cases = [(images, shard_samples(images, sample_bytes)) for images in (10**5, 10**7, 10**9)]
    for images, each in (*cases, (10**9, 1000)):
        start = start_costs(images // each * each, each, workers)
        starts.append(start)
        lines.append(
            f"| 10^{len(str(images)) - 1} | {each:,} | {start.shards:,} | {each * sample_bytes / 1e6:.0f} MB | "
            f"{images * sample_bytes / 1e9:,.1f} GB | {start.manifest_bytes / 1e6:,.2f} MB | "
            f"{start.load_seconds:.2f} s | {start.plan_seconds * 1e3:.0f} ms | {start.index_seconds * 1e3:.0f} ms | "
            f"{start.megabytes:.0f} MB |"
        )
    return lines, starts


def rates_table(sample_bytes: float, rate: float) -> Iterator[str]:
    yield "| GPUs | images/s | GB/s | requests/s | a request |"
    yield "|---|---|---|---|---|"
    for gpus in (8, 64, 512):
        images = gpus * rate
        requests = images / BLOCK_SAMPLES * 2  # a block lies in two shards, seldom in one
        yield (
            f"| {gpus} | {images:,.0f} | {images * sample_bytes / 1e9:.2f} | {requests:,.1f} | "
            f"{BLOCK_SAMPLES / 2 * sample_bytes / 1e6:.0f} MB |"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-bytes", type=float, default=45e3)
    parser.add_argument("--rate", type=float, default=31, help="images/s of one GPU")
    parser.add_argument("--workers", type=int, default=512, help="of which the first is started")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)
    sample_bytes = options.image_bytes + CAPTIONS_BYTES
    lines, starts = starts_table(sample_bytes, options.workers)
    if options.json:
        print(json.dumps({"workers": options.workers, "starts": [asdict(start) for start in starts]}))
        return
    print("\n".join([*lines, "", *rates_table(sample_bytes, options.rate), ""]))
    slowest = max(starts, key=lambda start: start.seconds)
    print(f"a worker knows its first batch after {slowest.seconds:.2f} s at most, in {slowest.megabytes:.0f} MB")


if __name__ == "__main__":
    main()
