"""python -m benchmarks.data: images/s of one loader, ours and the released code's, in one run.

Photographs of CUB's size are drawn (500 × 375 pixels, 97 kB of JPEG each as its archive has on average), packed at 256
pixels, and read by

    bare decode     Pillow's decode of the stored JPEGs from memory into arrays: the limit
    disk            `open_stream` from a folder
    bucket          `open_stream` from a local S3 server over HTTP, which shares the machine
    released        the released code's way: full-size JPEG from a folder, crop to the box, resize, random crop, flip,
                    three scales with Pillow, each to a normalised float tensor

one epoch each, in turn, `--rounds` times; of the ratios the minimum, the median and the maximum. `--markdown` prints
the table of docs/data.md. How fast images are packed: `benchmarks.packing`.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from datasets import storage
from datasets.manifest import load_manifest
from datasets.packing.pack import PackOptions, pack
from datasets.shards import ReadOptions, read_samples
from datasets.sources import birds
from datasets.sources.records import PathImage, Record, Source, crop_to_box, records_of
from datasets.storage.local_s3 import local_s3
from datasets.stream import open_stream

RESOLUTION, BATCH = 256, 10
PHOTO = (500, 375)
URL = "s3://benchmark/photos"


def photographs(folder: Path, count: int) -> Source:
    """Drawn birds enlarged to CUB's size, with the grain of a photograph so that JPEG has as much to do."""
    folder.mkdir(parents=True, exist_ok=True)
    species = birds.make_species()[0]
    records = []
    for i in tqdm(range(count), desc="draw", unit="image"):
        rng = np.random.default_rng([1, i])
        picture, (x, y, width, height) = birds.draw(species[i % len(species)], rng)
        scale = PHOTO[1] / picture.height
        canvas = Image.new("RGB", PHOTO, picture.getpixel((2, 2)))
        canvas.paste(picture.resize((PHOTO[1], PHOTO[1]), Image.Resampling.BICUBIC), ((PHOTO[0] - PHOTO[1]) // 2, 0))
        coarse = Image.fromarray(rng.normal(128, 40, (PHOTO[1] // 4, PHOTO[0] // 4)).clip(0, 255).astype(np.uint8))
        grain = np.asarray(coarse.resize(PHOTO, Image.Resampling.BICUBIC), np.float32)[..., None] - 128
        pixels = np.asarray(canvas, np.float32) + 0.5 * grain + rng.normal(0, 8, (PHOTO[1], PHOTO[0], 1))
        path = folder / f"{i:05d}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=94)
        box = (x * scale + (PHOTO[0] - PHOTO[1]) / 2, y * scale, width * scale, height * scale)
        records.append(
            Record(
                path.stem,
                PathImage(path),
                tuple(birds.captions(species[i % 150], rng)),
                "train",
                species[i % 150].name,
                box=box,
                upright=False,
            )
        )
    return Source("benchmark", records)


def released(records: Sequence[Record]) -> int:
    """One epoch as AttnGAN's and DM-GAN's datasets.py do it, with today's Pillow and torch."""
    stored = RESOLUTION * 76 // 64
    batch = []
    for record in records:
        image = Image.open(record.image.open()).convert("RGB")
        assert record.box is not None
        image = crop_to_box(image, record.box)
        scale = stored / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = np.random.randint(image.width - RESOLUTION + 1), np.random.randint(image.height - RESOLUTION + 1)
        image = image.crop((left, top, left + RESOLUTION, top + RESOLUTION))
        if np.random.rand() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        sizes = (RESOLUTION // 4, RESOLUTION // 2, RESOLUTION)
        scales = [image if s == RESOLUTION else image.resize((s, s), Image.Resampling.BILINEAR) for s in sizes]
        batch.append([_to_tensor(each) for each in scales])
        if len(batch) == BATCH:
            [torch.stack(each) for each in zip(*batch, strict=True)]
            batch.clear()
    return len(records)


def _to_tensor(image: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return pixels.float().div(255).sub(0.5).div(0.5)


def ours(url: str, epoch: int) -> int:
    return sum(len(batch.keys) for batch in open_stream(url, split="train", batch_size=BATCH, epoch=epoch))


def bare_decode(jpegs: Sequence[bytes]) -> int:
    for jpeg in jpegs:
        np.asarray(Image.open(io.BytesIO(jpeg)))
    return len(jpegs)


def measure(ways: dict[str, Callable[[int], int]], rounds: int) -> dict[str, list[float]]:
    """Images/s of each way in each round, in which every way has its turn."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in tqdm(range(rounds), desc="measure", unit="round"):
        for name, way in ways.items():
            began = time.perf_counter()
            rates[name].append(way(number) / (time.perf_counter() - began))
    return rates


def spread(rates: Sequence[float], others: Sequence[float]) -> tuple[float, float, float]:
    """Minimum, median and maximum of the rounds' ratios."""
    ratios = [a / b for a, b in zip(rates, others, strict=True)]
    return min(ratios), statistics.median(ratios), max(ratios)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, as the last line")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, local_s3(Path(folder) / "s3"):
        drawn = photographs(Path(folder) / "photos", options.images)
        records = records_of(drawn)
        disk = str(Path(folder) / "packed")
        pack(drawn, disk, PackOptions(resolution=RESOLUTION, shard_samples=200))
        storage.upload_folder(Path(disk), URL, last="manifest.json")
        split = load_manifest(disk)[0].split("train")
        samples, _ = read_samples(disk, split, np.arange(split.samples), ReadOptions())
        jpegs = [sample.jpg for sample in samples if sample is not None]
        ways: dict[str, Callable[[int], int]] = {
            "bare decode": lambda _: bare_decode(jpegs),
            "disk": lambda epoch: ours(disk, epoch),
            "bucket": lambda epoch: ours(URL, epoch),
            "released": lambda _: released(records),
        }
        rates = measure(ways, options.rounds)
        photo = statistics.mean(record.image.size for record in records) / 1e3
    stored = statistics.mean(map(len, jpegs)) / 1e3
    print(
        f"\nphotographs of {photo:.0f} kB, stored images of {stored:.0f} kB; {options.images} images, {BATCH} a batch"
    )
    if options.markdown:
        print("\n| | images/s | × released | of bare decode |\n|---|---|---|---|")
    for name, found in rates.items():
        low, middle, high = spread(found, rates["released"])
        least, half, most = spread(found, rates["bare decode"])
        rate = f"{statistics.median(found):.0f}"
        cells = rate, f"{middle:.2f} ({low:.2f}–{high:.2f})", f"{half:.0%} ({least:.0%}–{most:.0%})"
        print(f"| {name} | {' | '.join(cells)} |" if options.markdown else f"{name:11} {'  '.join(cells)}")
    if options.json:
        print(json.dumps({"images": options.images, "images_per_second": rates}))


if __name__ == "__main__":
    main()
