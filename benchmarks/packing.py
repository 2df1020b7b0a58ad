"""python -m benchmarks.packing: how fast captioned images are packed, and in how much memory.

Without --scale: photographs of CUB's size are packed at 256 pixels, beside Pillow decoding, cropping and resizing them
alone in as many processes, in turn, `--rounds` times; the ratios' minimum, median and maximum count: of images a second
(where nothing else runs) and of images a second of processor time (anywhere), starting the processes included.

With --scale N: N different images of 32 pixels in tars of 10,000, as img2dataset writes them, with `--captions` each,
packed once: images/s, the memory of the process that packs and of its largest worker, and the time from nothing to the
first batch of the packed dataset.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.packing.command import read_source
from datasets.packing.pack import PackOptions, pack
from datasets.sources.records import Record, Source, crop_to_box, records_of
from datasets.storage.processes import process_pool

RESOLUTION = 256
STORED = RESOLUTION * 76 // 64
TINY, OF_A_TAR = 32, 10_000


def decode_and_resize(records: Sequence[Record]) -> float:
    """What packing must do at least, with nothing written; the processor's seconds."""
    began = time.process_time()
    for record in records:
        with record.image.open() as file, Image.open(file) as opened:
            image = opened.convert("RGB")
        assert record.box is not None
        image = crop_to_box(image, record.box)
        scale = STORED / min(image.size)
        image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    return time.process_time() - began


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def compare(images: int, processes: int, rounds: int) -> dict[str, object]:
    """Images/s of both ways in every round, and the ratios of packing to the other."""
    from benchmarks.data import photographs  # it imports torch, which the processes that pack would do too

    with tempfile.TemporaryDirectory() as folder, process_pool(processes, _nothing) as pool:
        records = records_of(photographs(Path(folder) / "photos", images))
        shares = [records[i::processes] for i in range(processes)]
        rates, processor = (dict[str, list[float]]({"decode and resize": [], "pack": []}) for _ in range(2))
        options = PackOptions(resolution=RESOLUTION, shard_samples=200, processes=processes)
        list(pool.map(decode_and_resize, [share[:10] for share in shares]))
        for number in tqdm(range(rounds), desc="measure", unit="round"):
            began = time.perf_counter()
            used = sum(pool.map(decode_and_resize, shares))
            rates["decode and resize"].append(images / (time.perf_counter() - began))
            processor["decode and resize"].append(images / used)
            began, before = time.perf_counter(), _processor_seconds()
            pack(Source("benchmark", records), f"{folder}/packed-{number}", options, progress=False)
            rates["pack"].append(images / (time.perf_counter() - began))
            processor["pack"].append(images / (_processor_seconds() - before))
            shutil.rmtree(f"{folder}/packed-{number}")
    return {
        "images": images,
        "processes": processes,
        "images_per_second": rates,
        "ratio": _spread(rates),
        "images_per_processor_second": processor,
        "ratio_of_processor_time": _spread(processor),
    }


def _spread(rates: dict[str, list[float]]) -> dict[str, float]:
    ratios = sorted(b / a for a, b in zip(rates["decode and resize"], rates["pack"], strict=True))
    return {"minimum": ratios[0], "median": statistics.median(ratios), "maximum": ratios[-1]}


def _nothing() -> None:
    """A process of the pool needs no preparation."""


def write_tars(folder: Path, images: int, captions: int) -> None:
    """So many different pictures: a grid of 4 × 4 colours each."""
    folder.mkdir()
    for first in tqdm(range(0, images, OF_A_TAR), desc="draw", unit="tar"):
        colours = np.random.default_rng(first).integers(0, 256, (OF_A_TAR, 4, 4, 3), np.uint8)
        with tarfile.open(folder / f"{first // OF_A_TAR:05d}.tar", "w") as tar:
            for i in range(min(OF_A_TAR, images - first)):
                buffer, number = io.BytesIO(), first + i
                pixels = colours[i].repeat(TINY // 4, 0).repeat(TINY // 4, 1)
                Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
                texts = [f"a pattern of number {number % 5000} seen for the {k} time" for k in range(captions)]
                said = json.dumps({"captions": texts}).encode()
                for suffix, content in (("jpg", buffer.getvalue()), ("json", said)):
                    member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def at_scale(images: int, captions: int, processes: int) -> dict[str, object]:
    """Measured in this process, which should have done nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        write_tars(Path(folder) / "tars", images, captions)
        options = PackOptions(resolution=TINY, processes=processes)
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        manifest = pack(read_source("webdataset", f"{folder}/tars", options), f"{folder}/packed", options)
        seconds = time.perf_counter() - began
        own, others = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        from datasets.stream import open_stream

        began = time.perf_counter()
        next(open_stream(f"{folder}/packed", split="train", batch_size=10))
        first = time.perf_counter() - began
        part = manifest.split("train")
        return {
            "images": sum(split.samples for split in manifest.splits.values()),
            "captions": sum(split.captions for split in manifest.splits.values()),
            "processes": processes,
            "images_per_second": images / seconds,
            "megabytes": own / 1024,
            "megabytes_before": before / 1024,
            "megabytes_of_the_largest_worker": others / 1024,
            "stored_megabytes": part.size / 1e6,
            "first_batch_seconds": first,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="photographs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--scale", type=int, default=0, metavar="N", help="pack N tiny images once instead")
    parser.add_argument("--captions", type=int, default=1, help="of each tiny image")
    parser.add_argument("--json", action="store_true", help="print the result as JSON alone")
    asked = parser.parse_args(arguments)
    if asked.scale:
        result = at_scale(asked.scale, asked.captions, asked.processes)
    else:
        result = compare(asked.images, asked.processes, asked.rounds)
    if asked.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
