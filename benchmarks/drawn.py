"""python -m benchmarks.drawn [--images N] [--size S] [--json]: the drawn worlds, and the checks of what they show.

Of `birds-2` and `scenes`: processor milliseconds to draw a picture, and what the checks of `dmgan.evaluation` say of N
real test pictures, stored as JPEG and cut as an evaluation does: the share in which they see what the caption names.
`--json` prints the result as the last line.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from datasets.errors import UserError, run_command
from datasets.sources.drawn import birds2, scenes
from datasets.sources.options import PackOptions
from datasets.sources.records import Record
from dmgan.config import load_config
from dmgan.evaluation.metrics import Metric, Part, metrics
from dmgan.evaluation.protocol import settings

WORLDS: dict[str, tuple[ModuleType, str]] = {
    "birds-2": (birds2, "attribute_accuracy"),
    "scenes": (scenes, "scene_accuracy"),
}


def pictures(world: ModuleType, options: PackOptions, images: int) -> Iterator[tuple[np.ndarray, str, float]]:
    """Of test pictures evenly over the split: pixels (S, S, 3), a caption, and processor seconds it took to draw."""
    records = [r for r in world.records(options.stored_size) if isinstance(r, Record) and r.split == "test"]
    step = max(1, len(records) // images)
    for number, record in enumerate(islice(records[::step], images)):
        began = time.process_time()
        with Image.open(record.image.open()) as drawn:
            took = time.process_time() - began
            buffer = io.BytesIO()
            drawn.save(buffer, "JPEG", quality=options.quality)
        off = (options.stored_size - options.resolution) // 2
        with Image.open(buffer) as stored:
            cut = stored.crop((off, off, off + options.resolution, off + options.resolution))
            yield np.asarray(cut), record.captions[number % len(record.captions)], took


def measure(name: str, images: int, size: int) -> dict[str, float]:
    world, metric_name = WORLDS[name]
    chosen, options = settings(load_config(), world.NAME), PackOptions(resolution=size)
    metric: Metric = metrics.get(metric_name)
    total, seconds, found = None, 0.0, 0
    made = tqdm(pictures(world, options, images), desc=name, total=images, unit="image")
    for group in _batches(iter(made), 50):
        shown, captions, took = zip(*group, strict=True)
        empty = torch.zeros(len(shown), 1)
        part = Part(
            indices=np.arange(len(shown)),
            total=images,
            images=torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2),
            captions=list(captions),
            features=empty,
            logits=empty,
            ranked={},
        )
        sums = metric.generated(part, chosen)
        total = sums if total is None else metric.add(total, sums)
        seconds += sum(took)
        found += len(shown)
    assert total is not None
    scores = {key: round(float(value), 4) for key, value in metric.result(total, {}, chosen).items()}  # type: ignore[arg-type]
    return {"images": found, "size": size, "draw_ms": round(1000 * seconds / found, 2), **scores}


def _batches(
    items: Iterator[tuple[np.ndarray, str, float]], size: int
) -> Iterator[list[tuple[np.ndarray, str, float]]]:
    while group := list(islice(items, size)):
        yield group


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.drawn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000, help="test pictures of each world (2000)")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (64)")
    parser.add_argument("--json", action="store_true", help="the result as the last line")
    return run_command("benchmarks.drawn", partial(_carry_out, parser.parse_args(arguments)))


def _carry_out(asked: argparse.Namespace) -> int:
    if asked.images < 1:
        raise UserError(f"--images {asked.images}: expected one or more")
    torch.set_num_threads(1)  # small networks of a few pixels, which threads only slow down
    found = {name: measure(name, asked.images, asked.size) for name in WORLDS}
    for name, values in found.items():
        print(name, ", ".join(f"{key} {value}" for key, value in values.items()))
    if asked.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
