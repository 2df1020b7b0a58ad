"""python -m benchmarks.evaluation: images/s of the evaluation, ours and by the released procedure, in one run.

Networks of a preset with random weights, the drawn birds' test captions, one process, one thread; times are
processor time. In turn, `--rounds` times, over the same images. Times are those of an evaluation of 30,000 images: the
encoding of every distinct caption once, which ours does, is shared among so many; with
evaluate.encoder_precision=bfloat16 the images that are coded twice to measure rounding are shared among those of a
part. A ratio is that of two ways in one round: minimum, median, maximum.

    R-precision, from image codes
        released    for every image its 99 mismatching captions go through the text encoder
        ours        every caption was encoded once; an image's 99 are looked up, for the images of a part at once
    whole
        released    generation and R-precision as above, PNG files, read and extracted for IS and again for FID
        ours        `Evaluator.score`
        least       generation, and the extractor once: what no evaluation can do without

It prints the table of docs/evaluation.md; `--json` adds the result as the last line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from datasets.errors import run_command
from datasets.manifest import load_manifest
from datasets.packing.command import read_source
from datasets.packing.pack import PackOptions, pack
from datasets.sources import birds
from dmgan.allocator import keep_freed_memory
from dmgan.architectures import build_generator
from dmgan.config import load_config
from dmgan.evaluation.evaluator import CaptionEncoder, Evaluator
from dmgan.evaluation.judges import OWN
from dmgan.evaluation.ranking import SAMPLE
from dmgan.model.build import build_encoders
from dmgan.pixels import png
from dmgan.runs.run import Run
from dmgan.training.batch import caption_tensors

IMAGES, PARTS = 30000, 64  # of an evaluation
MATCHED = 8  # parts in a row: one takes milliseconds
CPU = torch.device("cpu")


class Bench:
    def __init__(self, folder: Path, settings: Sequence[str], preset: str, images: int) -> None:
        config = load_config(preset, settings)
        torch.manual_seed(0)
        run = Run(str(folder / "run"))
        self.vocabulary = load_manifest(config.data.url)[1]
        run.save_encoders(build_encoders(config.model, len(self.vocabulary)), self.vocabulary)
        generator = build_generator(config.model).eval().requires_grad_(False)
        self.encoder = CaptionEncoder(config, run, CPU)
        self.evaluator = Evaluator(self.encoder, generator, self.encode())
        self.options, self.images, self.folder = config.evaluate, images, folder
        size = config.evaluate.batch_size
        self.batches = [range(i, min(i + size, images)) for i in range(0, images, size)]
        captions = self.evaluator.captions
        self.numbers, self.lengths = caption_tensors(captions.texts, self.vocabulary, self.options.max_words)
        self.codes = F.normalize(torch.randn(images, config.model.word_dim), dim=1)
        self.of_a_part = F.normalize(torch.randn(IMAGES // PARTS, config.model.word_dim), dim=1)

    def encode(self) -> Tensor:
        return self.encoder.encode(0, self.encoder.distinct_captions)

    def generate(self) -> list[Tensor]:
        return [self.evaluator.images(batch) for batch in self.batches]

    def extract(self, images: Sequence[Tensor]) -> None:
        for part in images:
            self.evaluator.features(part)

    def match(self) -> None:
        """The images of some parts, one part after the other."""
        for part in range(MATCHED):
            first = part * (IMAGES // PARTS)
            self.evaluator.ranking.margins(OWN, self.of_a_part, np.arange(first, first + IMAGES // PARTS))

    def sample(self, images: Sequence[Tensor]) -> None:
        """The exact codes of a part by which rounding is measured."""
        if self.encoder.own.rounds:
            self.evaluator.codes(images[0][:SAMPLE])

    def released_match(self, codes: Tensor | None = None) -> None:
        """One image after the other: its captions drawn and encoded, ranked by cosine."""
        codes = self.codes if codes is None else codes
        captions = self.evaluator.captions
        every = np.arange(len(captions.classes))
        for k, caption in enumerate(captions.of(range(self.images)).tolist()):
            others = every[captions.classes != captions.classes[caption]]
            wrong = np.random.default_rng(k).choice(others, self.evaluator.settings.numbers.distractors, replace=False)
            chosen = torch.from_numpy(np.concatenate([[caption], wrong]))
            _, sentences = self.encoder.own.encoders.text(self.numbers[chosen], self.lengths[chosen])
            F.cosine_similarity(codes[k][None], sentences).argmax()

    def released(self) -> None:
        codes = []
        for batch, images in zip(self.batches, self.generate(), strict=True):
            codes.append(self.evaluator.codes(images))
            for k, pixels in zip(batch, images.permute(0, 2, 3, 1).numpy(), strict=True):
                (self.folder / f"{k:06d}.png").write_bytes(png(pixels))
        self.released_match(torch.cat(codes))
        for _ in ("IS", "FID"):
            self.extract([self._read(batch) for batch in self.batches])

    def _read(self, batch: range) -> Tensor:
        pixels = np.stack([np.asarray(Image.open(self.folder / f"{k:06d}.png")) for k in batch])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def ours(self) -> None:
        self.evaluator.score(0, self.images)


class Row(NamedTuple):
    """A line of the table."""

    what: str
    seconds: list[float]  # an image's, round by round
    ratio: str  # what the ratios are
    ratios: list[float]


def measure(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Processor seconds of each way, round by round; in each of them every way has its turn."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in tqdm(range(rounds), desc="measure", unit="round"):
        for name, way in ways.items():
            began = time.process_time()
            way()
            seconds[name].append(time.process_time() - began)
    return {name: np.array(found) for name, found in seconds.items()}


@torch.no_grad()
def compare(bench: Bench, rounds: int) -> list[Row]:
    bench.encode()
    generated = bench.generate()
    ways: dict[str, Callable[[], object]] = {
        "encode": bench.encode,
        "match": bench.match,
        "released match": bench.released_match,
        "generate": bench.generate,
        "extract": lambda: bench.extract(generated),
        "sample": lambda: bench.sample(generated),
        "ours": bench.ours,
        "released": bench.released,
    }
    images = dict.fromkeys(ways, bench.images) | {"encode": IMAGES, "match": MATCHED * (IMAGES // PARTS)}
    each = {name: took / images[name] for name, took in measure(ways, rounds).items()}
    encode = each["encode"]
    match, least = each["match"] + encode, each["generate"] + each["extract"]
    whole = each["ours"] + encode - each["sample"] * (1 - bench.images / (IMAGES / PARTS))
    rows = {
        "R-precision, released": (each["released match"], "", each["released match"] / each["released match"]),
        "R-precision, ours": (match, "× released", each["released match"] / match),
        "whole, released": (each["released"], "", each["released"] / each["released"]),
        "whole, ours": (whole, "× released", each["released"] / whole),
        "generation alone": (each["generate"], "of the whole", each["generate"] / whole),
        "extraction alone": (each["extract"], "of the whole", each["extract"] / whole),
        "least: generation and one extractor pass": (least, "is what the whole takes of it", whole / least),
    }
    return [Row(what, took.tolist(), ratio, ratios.tolist()) for what, (took, ratio, ratios) in rows.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="quickstart")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true", help="the result as the last line")
    return run_command("benchmarks.evaluation", partial(_carry_out, parser.parse_args(arguments)))


def _carry_out(options: argparse.Namespace) -> int:
    torch.set_num_threads(1)
    keep_freed_memory()  # as evaluation's workers do
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = load_config(options.preset, options.set).model.image_sizes[-1]
        settings = [*options.set, f"data.url={folder / 'packed'}", "data.draw_birds=false"]
        birds.ensure(folder / "birds")
        packing = PackOptions(resolution=size)
        pack(read_source("birds", str(folder / "birds"), packing), str(folder / "packed"), packing)
        bench = Bench(folder, settings, options.preset, options.images)
        rows = compare(bench, options.rounds)
    print(f"\n{options.preset}, {size} pixels, {bench.options.features} features, {options.images} images a round, ")
    print(f"{bench.encoder.distinct_captions} distinct captions of {len(bench.lengths)}, {options.rounds} rounds\n")
    print("| | images a processor second | ratio (min, median, max) | |\n|---|---|---|---|")
    for row in rows:
        spread = [min(row.ratios), statistics.median(row.ratios), max(row.ratios)]
        ratio = ", ".join(f"{value:.2f}" for value in spread) if row.ratio else "1"
        print(f"| {row.what} | {1 / statistics.median(row.seconds):,.1f} | {ratio} | {row.ratio} |")
    if options.json:
        print(json.dumps({"preset": options.preset, "rows": [row._asdict() for row in rows]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
