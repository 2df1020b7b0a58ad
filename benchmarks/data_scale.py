"""python -m benchmarks.data_scale: shards, requests and bandwidth for large datasets, from measured sizes and rates.

`--image-bytes` is a stored image as `benchmarks.data` prints it, `--rate` what one GPU trains in images/s. The
manifest's size and the time to load it are measured here on a synthetic one. Prints the tables of docs/data.md.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Iterator, Sequence

from datasets.manifest import Manifest, Shard, Split
from datasets.plan import BLOCK_SAMPLES, plan_epoch

CAPTIONS_BYTES = 2500  # a sample's JSON: ten captions as text and as numbers
SHARD_BYTES = 512e6  # where shards stop growing: a few seconds to read, far below what one PUT may hold


def shard_samples(images: int, sample_bytes: float) -> int:
    """Images a shard: a thousand shards, of at least 1,000 images and at most half a gigabyte."""
    return int(min(max(1000, images / 1000), SHARD_BYTES / sample_bytes) // 1000 * 1000)


def manifest_costs(samples: int) -> tuple[float, float, float]:
    """Bytes a sample in the manifest, seconds to read a million's, seconds to plan an epoch of theirs."""
    each = 1000
    sizes = tuple(i * 47616 for i in range(each))
    crcs = tuple(zlib.crc32(str(i).encode()) for i in range(each))
    shards = tuple(Shard(f"train-{n:06d}.tar", "0" * 64, each * 47616, sizes, crcs) for n in range(samples // each))
    text = _manifest(samples, shards).to_json()
    began = time.perf_counter()
    split = Manifest.from_json(json.dumps(json.loads(text))).splits["train"]
    loaded = time.perf_counter() - began
    began = time.perf_counter()
    next(iter(plan_epoch(split, rank=0, world_size=8)))
    return len(text) / samples, loaded * 1e6 / samples, time.perf_counter() - began


def _manifest(samples: int, shards: tuple[Shard, ...]) -> Manifest:
    split = Split(samples, samples, 1, shards, captions_sha256="")
    return Manifest("x", 304, 256, 10, "", source_sha256="", splits={"train": split})


def sizes_table(sample_bytes: float, manifest_bytes: float) -> Iterator[str]:
    yield "| images | images a shard | shards | a shard | all | manifest |"
    yield "|---|---|---|---|---|---|"
    for images in (10**5, 10**7, 10**9):
        each = shard_samples(images, sample_bytes)
        shards = -(-images // each)
        yield (
            f"| 10^{len(str(images)) - 1} | {each:,} | {shards:,} | {each * sample_bytes / 1e6:.0f} MB | "
            f"{images * sample_bytes / 1e9:,.1f} GB | {images * manifest_bytes / 1e6:,.1f} MB |"
        )


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
    options = parser.parse_args(arguments)
    sample_bytes = options.image_bytes + CAPTIONS_BYTES
    manifest_bytes, load_seconds, plan_seconds = manifest_costs(10**6)
    print(f"manifest: {manifest_bytes:.1f} bytes a sample; a million's: {load_seconds:.2f} s to read, ", end="")
    print(f"{plan_seconds * 1e3:.0f} ms to plan an epoch's first block\n")
    print("\n".join(sizes_table(sample_bytes, manifest_bytes)))
    print()
    print("\n".join(rates_table(sample_bytes, options.rate)))


if __name__ == "__main__":
    main()
