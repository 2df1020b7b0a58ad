"""python -m datasets.verify URL: whether a packed dataset is what its manifest says.

Every file is read: shards, captions and vocabulary against their checksums, every sample against its place, and every
image is decoded. Exit code 0 when all is well, 2 with one line for each thing that is not.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image

from datasets import storage
from datasets.captions import load_captions
from datasets.errors import run_command
from datasets.index import load_index
from datasets.manifest import Manifest, ManifestError, Split, load_manifest
from datasets.shards import DatasetError, ReadOptions, Sample, read_samples
from datasets.storage.progress import progress_bar
from datasets.vocabulary import Vocabulary

__all__ = ["main", "verify"]

_THREADS = 4


def verify(url: str, *, progress: bool = False) -> list[str]:
    """What is wrong with the dataset at `url`, one line each. Raises ManifestError or StorageError without manifest."""
    manifest, vocabulary = load_manifest(url)
    problems = []
    total = sum(split.samples for split in manifest.splits.values())
    with (
        progress_bar(total=total, desc="verify", unit="image", disable=not progress) as bar,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        for name, split in manifest.splits.items():
            numbers = range(len(split.shards))
            problems += list(_captions(url, name, manifest, vocabulary))
            of_shards = pool.map(partial(_shard, url, manifest, vocabulary, split), numbers)
            for found, shard in zip(of_shards, split.shards, strict=True):
                problems += found
                bar.update(shard.samples)
    return problems


def _captions(url: str, name: str, manifest: Manifest, vocabulary: Vocabulary) -> Iterator[str]:
    try:
        for entry in load_captions(url, name, manifest):
            if not entry.captions or not all(map(vocabulary.encode, entry.captions)):
                yield f"{url}: {name}: {entry.key}: has a caption without a word of the vocabulary, or none"
    except (ManifestError, storage.StorageError) as error:
        yield str(error)


def _shard(url: str, manifest: Manifest, vocabulary: Vocabulary, split: Split, number: int) -> list[str]:
    return list(_problems(url, manifest, vocabulary, split, number))


def _problems(url: str, manifest: Manifest, vocabulary: Vocabulary, split: Split, number: int) -> Iterator[str]:
    shard = split.shards[number]
    location = storage.join(url, shard.name)
    try:
        content = storage.read_bytes(location)
    except storage.StorageError as error:
        yield str(error)
        return
    if len(content) != shard.size:
        yield f"{location}: has {len(content)} bytes, the manifest says {shard.size}"
        return
    try:
        index = load_index(url, shard)
    except (ManifestError, storage.StorageError) as error:
        yield str(error)
        return
    if hashlib.sha256(content).hexdigest() != shard.sha256:
        damaged = [
            i for i in range(shard.samples) if zlib.crc32(content[slice(*index.span(i, i + 1))]) != index.crc32[i]
        ]
        samples = ", ".join(map(str, damaged[:5])) + (", …" if len(damaged) > 5 else "")
        yield f"{location}: has another checksum than the manifest's{f' (samples {samples})' if damaged else ''}"
        return
    positions = int(split.starts[number]) + np.arange(shard.samples)
    try:
        samples_found, _ = read_samples(url, split, positions, ReadOptions())
    except DatasetError as error:
        yield str(error)
        return
    for sample in samples_found:
        assert sample is not None
        yield from _sample(location, sample, manifest, vocabulary)


def _sample(location: str, sample: Sample, manifest: Manifest, vocabulary: Vocabulary) -> Iterator[str]:
    try:
        with Image.open(BytesIO(sample.jpg)) as image:
            image.load()
            if min(image.size) != manifest.stored_size:
                size = f"{image.width}×{image.height}"
                yield f"{location}: {sample.key}: is {size}, expected a shorter side of {manifest.stored_size}"
    except Exception as error:  # a damaged image makes a decoder raise anything
        yield f"{location}: {sample.key}: the image does not decode: {error}"
    captions = sample.fields["captions"]
    if not captions or not all(isinstance(caption, str) and vocabulary.encode(caption) for caption in captions):
        yield f"{location}: {sample.key}: has a caption without a word of the vocabulary, or none"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", metavar="URL", help="a folder or s3://bucket/path")
    url = parser.parse_args(arguments).url
    return run_command("datasets.verify", partial(_carry_out, url))


def _carry_out(url: str) -> int:
    problems = verify(url, progress=True)
    for problem in problems:
        print(f"datasets.verify: {problem}", file=sys.stderr)
    if not problems:
        print(f"{url}: as its manifest says")
    return 2 if problems else 0
