"""Batches from tar shards in a folder or bucket."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain, islice
from random import Random

import numpy as np
import torch
import torch.multiprocessing  # tensors of loader processes come through shared memory
from PIL import Image

from datasets.manifest import Manifest, Split, load_manifest
from datasets.plan import EpochPlan, Leg, batches_per_worker, plan_epoch, plan_range
from datasets.shards import DatasetError, ReadOptions, Sample, Skipped, read_samples
from datasets.storage import Retry
from datasets.storage.processes import process_pool

__all__ = ["Batch", "DatasetError", "Leg", "ReadOptions", "Retry", "Skipped", "open_images", "open_stream"]


@dataclass
class Batch:
    """Samples as they are read. Captions are text: whoever encodes them makes the tokens."""

    keys: list[str]
    images: torch.Tensor  # uint8 (B, 3, H, W)
    captions: list[str]  # one of each image
    classes: torch.Tensor  # int64 (B,)
    draws: list[
        int | None
    ]  # of each sample 32 random bits for what its caption's encoder draws; None: it draws nothing

    def put(self, row: int, single: Batch) -> None:
        """Replace a row by the only one of another batch."""
        self.keys[row], self.captions[row], self.draws[row] = single.keys[0], single.captions[0], single.draws[0]
        self.images[row], self.classes[row] = single.images[0], single.classes[0]


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
    legs: Sequence[Leg] = (),
    augment: bool = True,
    options: ReadOptions | None = None,
    skipped: Skipped | None = None,
    manifest: Manifest | None = None,
) -> Iterator[Batch]:
    """One epoch of batches for one worker, from batch number `start` on.

    Which samples, crops, flips and captions they hold is a function of the arguments alone. With `augment` a random
    crop of the stored image, a random flip (`options.mirror`) and one of the image's captions at random, as released;
    without, the middle and the first caption, in stored order. The samples that do not fill a batch on every worker are
    left out. An epoch that other numbers of workers have begun goes on with what their `legs` left, each sample once.

    An image that does not decode, and with `options.on_bad_shard` = skip a sample that cannot be read, is replaced by
    the next one of its block and added to `skipped`. `manifest` is read from `url` where it is not given.
    Raises DatasetError, ManifestError, StorageError; ValueError if a worker would get no batch at all in a whole epoch.
    """
    options, skipped = options or ReadOptions(), skipped or Skipped()
    if manifest is None:
        manifest, _ = load_manifest(url)
    part = manifest.split(split)
    count = batches_per_worker(part.samples, batch_size, world_size, legs)
    if count == 0 and not legs:
        raise ValueError(
            f"{url}: split {split!r} has {part.samples} samples, fewer than one batch of {batch_size} for each of "
            f"{world_size} workers"
        )
    plan = plan_epoch(part, rank=rank, world_size=world_size, epoch=epoch, seed=seed, shuffle=augment, legs=legs)
    drawn = _Drawing(manifest.resolution, seed, epoch, augment, options.mirror)
    samples = _samples(url, part, plan, start * batch_size, options, skipped)
    with _decoders(options.loaders) as pool:
        waiting: deque[tuple[list[_Slot], Future[_Decoded]]] = deque()
        ahead = max(1, options.loaders) + 1  # one batch more than is being made
        for i in range(start, count):
            while len(waiting) < min(ahead, count - i) and (slots := list(islice(samples, batch_size))):
                waiting.append((slots, pool.submit(_decode, [slot.sample for slot in slots], drawn)))
            slots, future = waiting.popleft()
            if len(slots) < batch_size:
                raise DatasetError(f"{url}: split {split!r} ended before batch {i} of {count}")
            yield _repaired(slots, future.result(), drawn, skipped, partial(_of_shards, url, part, options))


def open_images(
    url: str,
    split: str,
    batch_size: int,
    first: int = 0,
    last: int | None = None,
    options: ReadOptions | None = None,
) -> Iterator[torch.Tensor]:
    """The images [first, last) of a split in stored order, their middle: uint8 (≤ batch_size, 3, H, W).

    Raises DatasetError where one cannot be read, whatever `options.on_bad_shard` says.
    """
    manifest, _ = load_manifest(url)
    part = manifest.split(split)
    blocks = plan_range(first, part.samples if last is None else min(last, part.samples))
    options = replace(options or ReadOptions(), on_bad_shard="error")
    samples = _samples(url, part, blocks, 0, options, Skipped())
    drawn = _Drawing(manifest.resolution, 0, 0, augment=False, mirror=False)
    while slots := list(islice(samples, batch_size)):
        batch, failed = _decode([slot.sample for slot in slots], drawn)
        for row, reason in failed.items():
            raise DatasetError(f"{slots[row].sample.key}: {reason}")
        yield batch.images


@dataclass(frozen=True)
class _Drawing:
    """What becomes of a sample: a function of it and of these."""

    resolution: int
    seed: int
    epoch: int
    augment: bool
    mirror: bool


@dataclass(frozen=True)
class _Slot:
    """A place in the epoch: its sample (or the one in its place), and the block's in which to look for another."""

    sample: Sample
    block: Sequence[Sample]
    position: int  # of the sample in the block


_Decoded = tuple[Batch, dict[int, str]]  # a batch, and why rows of it have no image


@contextmanager
def _decoders(processes: int) -> Iterator[Executor]:
    if processes:
        yield _loader_processes(processes)
    else:
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            yield pool


@lru_cache(maxsize=1)
def _loader_processes(processes: int) -> Executor:
    """Kept from epoch to epoch: starting them takes seconds."""
    return process_pool(processes, torch.set_num_threads, 1)


def _samples(
    url: str, split: Split, blocks: EpochPlan, skip: int, options: ReadOptions, skipped: Skipped
) -> Iterator[_Slot]:
    """The places of the blocks in their order, less the first `skip`; the next block is fetched meanwhile."""
    first = 0
    while first < len(blocks) and skip >= blocks.size(first):
        skip -= blocks.size(first)
        first += 1
    with ThreadPoolExecutor(1, thread_name_prefix="shards") as ahead:
        waiting = ahead.submit(read_samples, url, split, blocks[first], options) if first < len(blocks) else None
        for number in range(first, len(blocks)):
            assert waiting is not None
            found, lost = waiting.result()
            waiting = None
            if number + 1 < len(blocks):
                waiting = ahead.submit(read_samples, url, split, blocks[number + 1], options)
            skipped.shards.update(lost[p] for p in blocks[number][skip:].tolist() if p in lost)
            sound = [sample for sample in found if sample is not None]
            sound = sound or _elsewhere(url, split, blocks, number, options)
            # A lost sample's place goes to the next sound one of the block, and from the last to the first.
            place = 0
            for i, sample in enumerate(found):
                if i >= skip:
                    yield _Slot(sound[place % len(sound)], sound, place % len(sound))
                place += sample is not None
            skip = 0


def _elsewhere(url: str, split: Split, blocks: EpochPlan, number: int, options: ReadOptions) -> list[Sample]:
    """For a block without a sound sample those of the worker's next that has any, or else of the first such shard."""
    others = (blocks[(number + step) % len(blocks)] for step in range(1, len(blocks)))
    for sound in chain(
        (_sound(url, split, positions, options) for positions in others), _of_shards(url, split, options)
    ):
        if sound:
            return sound
    raise DatasetError(f"{url}: no sample can be read, not of any shard")


def _of_shards(url: str, split: Split, options: ReadOptions) -> Iterator[list[Sample]]:
    for start, shard in zip(split.starts, split.shards, strict=True):
        yield _sound(url, split, int(start) + np.arange(shard.samples), options)


def _sound(url: str, split: Split, positions: np.ndarray, options: ReadOptions) -> list[Sample]:
    found, lost = read_samples(url, split, positions, options)
    if away := next((reason for reason in lost.values() if "cannot be reached" in reason), None):
        raise DatasetError(away)  # asking a bucket that is away for shard after shard would take hours
    return [sample for sample in found if sample is not None]


def _repaired(
    slots: list[_Slot],
    decoded: _Decoded,
    drawn: _Drawing,
    skipped: Skipped,
    elsewhere: Callable[[], Iterator[list[Sample]]],
) -> Batch:
    """The batch, with the next sample that decodes of the block, or else of any shard, for each that does not."""
    batch, failed = decoded
    for row, reason in failed.items():
        slot = slots[row]
        skipped.images[f"{slot.sample.key}: {reason}"] += 1
        near = (slot.block[(slot.position + step) % len(slot.block)] for step in range(1, len(slot.block)))
        for other in chain(near, chain.from_iterable(elsewhere())):
            single, bad = _decode([other], drawn)
            if not bad:
                batch.put(row, single)
                break
        else:
            raise DatasetError(f"{slot.sample.key}: {reason}, nor does any other image")
    return batch


def _decode(samples: list[Sample], drawn: _Drawing) -> _Decoded:
    """A batch of the samples, and why rows of it could not be decoded."""
    size = drawn.resolution
    images = np.empty((len(samples), size, size, 3), np.uint8)
    captions, draws, failed = [], [], {}
    for row, sample in enumerate(samples):
        # Seeded by the sample, so that its crop and caption do not depend on the worker that has it.
        rng = Random(f"{drawn.seed} {drawn.epoch} {sample.key}") if drawn.augment else None
        try:
            images[row] = _image(sample.jpg, size, rng, drawn.mirror)
        except Exception as error:  # a damaged image makes a decoder raise anything
            images[row] = 0
            failed[row] = f"the image does not decode: {' '.join(str(error).split())}"
        texts = sample.fields["captions"]
        captions.append(texts[0] if rng is None else texts[rng.randrange(len(texts))])
        draws.append(None if rng is None else rng.getrandbits(32))
    batch = Batch(
        keys=[sample.key for sample in samples],
        # Stored pixel by pixel as JPEG decodes; whoever wants planes makes them on the device.
        images=torch.from_numpy(images).permute(0, 3, 1, 2),
        captions=captions,
        classes=torch.tensor([sample.fields["class"] for sample in samples]),
        draws=draws,
    )
    return batch, failed


def _image(jpg: bytes, size: int, rng: Random | None, mirror: bool) -> np.ndarray:
    """The image as uint8 (size, size, 3), cropped: at random and with `mirror` perhaps flipped, or the middle."""
    image: Image.Image = Image.open(io.BytesIO(jpg))
    right, down = image.width - size, image.height - size
    left, top = (rng.randint(0, right), rng.randint(0, down)) if rng is not None else (right // 2, down // 2)
    image = image.crop((left, top, left + size, top + size))
    if rng is not None and mirror and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = (image if image.mode == "RGB" else image.convert("RGB")).tobytes()
    return np.frombuffer(pixels, np.uint8).reshape(size, size, 3)
