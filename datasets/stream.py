"""Batches from tar shards in a folder or bucket."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_expander

from datasets import storage
from datasets.manifest import Manifest, Split, load_manifest
from datasets.plan import Block, batches_per_worker, plan_epoch

__all__ = ["DatasetError", "open_images", "open_stream"]

Sample = dict[str, Any]


class DatasetError(Exception):
    """A shard is missing, short or damaged; one line naming it."""


def open_stream(
    url: str,
    *,
    split: str,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    epoch: int = 0,
    seed: int = 0,
    start: int = 0,
    max_words: int = 18,
    augment: bool = True,
) -> Iterator[dict[str, Any]]:
    """One epoch of batches for one worker, from batch number `start` on.

    Each is a dict: "key" list of str, "image" uint8 (B, 3, H, W), "caption" int64 (B, T) padded with 0, "length" int64
    (B,), "class" int64 (B,); T = `max_words`. Which samples, crops, flips and captions it holds is a function of the
    arguments alone. With `augment` a random crop of the stored image, a random flip and one of the image's captions at
    random, as released; without, the middle and the first caption, in stored order. The samples that do not fill a
    batch on every worker are left out.

    Raises DatasetError, ManifestError, StorageError; ValueError if a worker would get no batch at all.
    """
    manifest, _ = load_manifest(url)
    part = manifest.split(split)
    count = batches_per_worker(part.samples, batch_size, world_size)
    if count == 0:
        raise ValueError(
            f"{url}: split {split!r} has {part.samples} samples, fewer than one batch of {batch_size} for each of "
            f"{world_size} workers"
        )
    plan = plan_epoch(part, rank=rank, world_size=world_size, epoch=epoch, seed=seed, shuffle=augment)
    samples = _samples(url, part, plan, skip=start * batch_size)
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as ahead:

        def make() -> dict[str, Any] | None:
            chosen = list(islice(samples, batch_size))
            return _batch(chosen, manifest, seed, epoch, max_words, augment) if len(chosen) == batch_size else None

        following = ahead.submit(make)
        for i in range(start, count):
            batch = following.result()
            if i + 1 < count:
                following = ahead.submit(make)
            if batch is None:
                raise DatasetError(f"{url}: split {split!r} ended before batch {i} of {count}")
            yield batch


def open_images(url: str, split: str, batch_size: int, rank: int = 0, world_size: int = 1) -> Iterator[torch.Tensor]:
    """This worker's share of a split's images, each once and uncropped by chance: uint8 (≤ batch_size, 3, H, W)."""
    manifest, _ = load_manifest(url)
    part = manifest.split(split)
    samples = _samples(url, part, plan_epoch(part, rank=rank, world_size=world_size, shuffle=False), skip=0)
    while chosen := list(islice(samples, batch_size)):
        yield torch.from_numpy(np.stack([_image(sample, manifest, None) for sample in chosen]))


def _samples(url: str, split: Split, blocks: list[Block], skip: int) -> Iterator[Sample]:
    """The samples of the blocks in their order, less the first `skip`; the next block is fetched meanwhile."""
    while blocks and skip >= len(blocks[0].order):
        skip -= len(blocks[0].order)
        blocks = blocks[1:]
    with ThreadPoolExecutor(1, thread_name_prefix="shards") as ahead:
        waiting = ahead.submit(_read_block, url, split, blocks[0]) if blocks else None
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            assert waiting is not None
            samples = waiting.result()
            waiting = ahead.submit(_read_block, url, split, following) if following else None
            for i in block.order[skip:]:
                yield samples[i]
            skip = 0


def _read_block(url: str, split: Split, block: Block) -> list[Sample]:
    samples: list[Sample] = []
    for segment in block.segments:
        shard = split.shards[segment.shard]
        location = storage.join(url, shard.name)
        start, end = shard.span(segment.first, segment.last)
        stream = io.BytesIO(storage.read_bytes(location, start, end))
        found = list(group_by_keys(tar_file_expander([{"url": location, "stream": stream}])))
        # A damaged tar ends early without an error, so the count is the check.
        if len(found) != segment.last - segment.first:
            raise DatasetError(
                f"{location}: bytes {start}–{end} hold {len(found)} samples, the manifest says "
                f"{segment.last - segment.first}; the shard is damaged or not the one that was packed"
            )
        for sample in found:
            sample["json"] = json.loads(sample["json"])
            samples.append({"key": sample["__key__"], "jpg": sample["jpg"], "json": sample["json"]})
    return samples


def _batch(
    samples: list[Sample], manifest: Manifest, seed: int, epoch: int, max_words: int, augment: bool
) -> dict[str, Any]:
    images, captions = [], np.zeros((len(samples), max_words), np.int64)
    lengths = np.zeros(len(samples), np.int64)
    for row, sample in enumerate(samples):
        # Seeded by the sample, so that its crop and caption do not depend on the worker that has it.
        rng = np.random.default_rng([seed, epoch, 2, sample["json"]["index"]])
        images.append(_image(sample, manifest, rng if augment else None))
        tokens = sample["json"]["tokens"]
        words = tokens[int(rng.integers(len(tokens)))] if augment else tokens[0]
        if len(words) > max_words:
            kept = np.sort(rng.choice(len(words), max_words, replace=False)) if augment else np.arange(max_words)
            words = [words[i] for i in kept]
        captions[row, : len(words)], lengths[row] = words, len(words)
    return {
        "key": [s["key"] for s in samples],
        "image": torch.from_numpy(np.stack(images)),
        "caption": torch.from_numpy(captions),
        "length": torch.from_numpy(lengths),
        "class": torch.tensor([s["json"]["class"] for s in samples]),
    }


def _image(sample: Sample, manifest: Manifest, rng: np.random.Generator | None) -> np.ndarray:
    """The sample's image as uint8 (3, H, W) of the manifest's resolution, cropped out of the stored one."""
    try:
        pixels = np.asarray(Image.open(io.BytesIO(sample["jpg"])).convert("RGB"))
    except OSError as error:
        raise DatasetError(f"{sample['key']}: the image does not decode: {error}") from error
    size = manifest.resolution
    down, right = pixels.shape[0] - size, pixels.shape[1] - size
    top, left = rng.integers(0, (down + 1, right + 1)) if rng is not None else (down // 2, right // 2)
    pixels = pixels[top : top + size, left : left + size]
    if rng is not None and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
