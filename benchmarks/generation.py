"""python -m benchmarks.generation: images a second of `TextToImage.draw` and of its networks alone, in one process.

    networks    text encoder and generator in a plain loop over batches whose ids, noise and ε are there already
    draw        `model.draw`: captions in, drawings with their stages as uint8 pixels out

with random weights of a preset's sizes, every caption another one, on a GPU where there is one, else on the CPU. In
every round each way draws the same images, in a changing order, so that what else the machine does falls on both; the
first round is not counted. The share is that of two times of one round; the processor share is that of the processor
seconds of all threads, which hardly depend on what else the machine does.

`--json` prints the result as the last line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.training import device_name
from datasets.errors import UserError, run_command
from datasets.vocabulary import Vocabulary
from dmgan.architectures import build_generator
from dmgan.config import load_config
from dmgan.drawing.device import number_type, usable_device
from dmgan.drawing.request import Request, random_numbers
from dmgan.drawing.text_to_image import TextToImage
from dmgan.model.text_encoders import text_encoders
from dmgan.training.batch import caption_tensors

__all__ = ["main", "measure"]

Result = dict[str, Any]
_WORDS = 10  # of a caption


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.generation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", default="quickstart", help="a preset or a YAML file")
    parser.add_argument("--batch", type=int, default=16, help="images of a batch")
    parser.add_argument("--images", type=int, default=256, help="images of a round")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count")
    parser.add_argument("--device", help="cpu or cuda; a GPU where there is one")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16")
    parser.add_argument("--json", action="store_true", help="the result as the last line")
    return run_command("benchmarks.generation", partial(_carry_out, parser.parse_args(arguments)))


def _carry_out(options: argparse.Namespace) -> int:
    for name in ("batch", "images", "rounds"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)}: expected at least 1")
    model = untrained(options.preset).to(usable_device(options.device), number_type(options.dtype))
    result = measure(model, options.preset, options.batch, options.images, options.rounds)
    print(
        f"{result['preset']}, {result['pixels']} pixels, batch {result['batch']}, {result['images']} images, "
        f"{result['rounds']} rounds, {result['dtype']}, {result['device']}\n"
        f"networks alone {result['networks']:.1f} images/s, draw {result['draw']:.1f} images/s\n"
        f"share of the networks (minimum, median, maximum): {_shown(result, 'share')}\n"
        f"by processor seconds: {_shown(result, 'processor_share')}"
    )
    if options.json:
        print(json.dumps(result))
    return 0


def _shown(result: Result, name: str) -> str:
    low, high = result[f"{name}_range"]
    return f"{low:.1%}, {result[name]:.1%}, {high:.1%}"


def untrained(preset: str) -> TextToImage:
    """A model of the preset's sizes with random weights, and words of numbers."""
    config = load_config(preset)
    torch.manual_seed(0)
    vocabulary = Vocabulary.of(f"word{number}" for number in range(1000))
    text = text_encoders.get(config.model.text_encoder).build(config.model, len(vocabulary), 0.0)
    generator = build_generator(config.model).eval().requires_grad_(False)
    return TextToImage(preset, 0, config, generator, text.eval().requires_grad_(False), vocabulary)


def measure(model: TextToImage, preset: str, batch: int, images: int, rounds: int) -> Result:
    """Images a second of both ways, and what share of the networks' `draw` reaches."""
    captions = [" ".join(f"word{(7 * i + 31 * j) % 1000}" for j in range(_WORDS)) for i in range(images)]
    requests = [Request(caption, number) for number, caption in enumerate(captions)]
    ways = {"networks": _networks(model, requests, batch), "draw": _draw(model, requests, batch)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in tqdm(range(rounds + 1), desc="measure", unit="round", disable=None):
        for name in names if number % 2 else names[::-1]:
            began, processor_began = time.perf_counter(), time.process_time()
            ways[name]()
            if number:
                seconds[name].append(time.perf_counter() - began)
                processor[name].append(time.process_time() - processor_began)
    return {
        "preset": preset,
        "pixels": model.resolution,
        "batch": batch,
        "images": images,
        "rounds": rounds,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": device_name(model.device),
        **{name: images / statistics.median(found) for name, found in seconds.items()},
        **_share("share", seconds),
        **_share("processor_share", processor),
    }


def _share(name: str, times: dict[str, list[float]]) -> Result:
    """What share of the networks' rate `draw` reaches: median, minimum and maximum over the rounds."""
    found = [alone / whole for alone, whole in zip(times["networks"], times["draw"], strict=True)]
    return {name: statistics.median(found), f"{name}_range": [min(found), max(found)]}


def _networks(model: TextToImage, requests: Sequence[Request], batch: int) -> Callable[[], None]:
    """Everything but the networks is done now."""
    parts = [requests[first : first + batch] for first in range(0, len(requests), batch)]
    ready = []
    for part in parts:
        ids, lengths = caption_tensors([request.caption for request in part], model.tokenizer, model.max_words)
        noise, eps = random_numbers(part, model.generator.noise_dim, model.generator.condition_dim)
        ready.append([tensor.to(model.device) for tensor in (ids, lengths, noise, eps)])

    @torch.inference_mode()
    def run() -> None:
        for ids, lengths, noise, eps in ready:
            words, sentence = model.text(ids, lengths)
            with model.precision():
                model.generator(noise, sentence, words, ids == 0, eps)
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    return run


def _draw(model: TextToImage, requests: Sequence[Request], batch: int) -> Callable[[], None]:
    def run() -> None:
        for drawing in model.draw(requests, batch):
            assert len(drawing.pixels) == len(model.resolutions)

    return run


if __name__ == "__main__":
    sys.exit(main())
