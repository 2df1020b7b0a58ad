"""What steps of `benchmarks.training` cost beside time: operations, memory; and where the time of ours goes."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training_ways import Step, Work, make_way, timed
from dmgan.training.gan import GanTraining, Part, draw_noise
from dmgan.training.objectives import generator_loss
from dmgan.training.outcome import matching_losses

__all__ = ["matmul_rate", "operations", "parts", "peak_memory"]

_STEPS_FOR_MEMORY = 2  # the second has the optimizers' moments from its start
_MATMUL = {"cpu": 1024, "cuda": 8192}


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a square matrix product, the best of five, or of those that begin in a second."""
    size = _MATMUL[device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    tries: list[float] = []
    while len(tries) < 5 and sum(tries) < 1:
        tries.append(timed(lambda: a @ b, device))
    return 2 * size**3 / min(tries)


def operations(step: Step, number: int) -> int:
    """Floating point operations of convolutions and matrix products in a step, the LSTM's left out."""
    with FlopCounterMode(display=False) as counter:
        step(number)
    return int(counter.get_total_flops())


def peak_memory(name: str, work: Work) -> int:
    """Bytes at the peak of steps in a process that does nothing else, beyond what it has after its imports.

    On a GPU those that its allocator handed out.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_peak, name, work, torch.get_num_threads()).result()


def _peak(name: str, work: Work, threads: int) -> int:
    torch.set_num_threads(threads)
    before = _resident()
    step = make_way(name, work)
    gc.collect()
    for number in range(_STEPS_FOR_MEMORY):
        step(number)
    if work.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(work.device))
    return _resident() - before


def _resident() -> int:
    """Bytes of this process in memory at their peak so far (getrusage's are its parent's too)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024


def parts(training: GanTraining, work: Work, number: int) -> dict[str, float]:
    """Seconds of a step of ours by part.

    The generator's update is done piece by piece: losses are sent back to the images first, and from there on through
    the generator. Encoding captions, sizes of real images, optimizer of the generator and average are "the rest".
    """
    seconds: dict[str, float] = {}

    def measured(name: str, action: Callable[[], Any]) -> Any:
        kept: list[Any] = []
        seconds[name] = seconds.get(name, 0.0) + timed(lambda: kept.append(action()), work.device)
        return kept[0]

    began = time.perf_counter()
    given = work.images_and_captions()
    generator: Any = training.generator.module
    dims = (generator.noise_dim, generator.condition_dim)
    draws = draw_noise(dims, seed=training.seed, step=number, batch_size=work.batch)
    part = Part(training.encode(given), given.images, *draws)
    fake = measured("generator forward", lambda: training.generate(part))
    real = training.real_images(part, fake)
    detached = [image.detach() for image in fake.images]
    measured("discriminators", lambda: training.update_discriminators(real, detached, part.text))
    images = fake.images
    gradients = _gradients(training, part, fake, measured)
    measured("generator backward", lambda: torch.autograd.backward(images, gradients))
    training.generator.step()
    training.average.update(training.generator, number)
    return seconds | {"the rest": time.perf_counter() - began - sum(seconds.values())}


def _gradients(training: GanTraining, part: Part, fake: Any, measured: Callable[..., Any]) -> list[Tensor]:
    """Of the generator's losses with respect to its images."""
    discriminators = training.discriminators.module.requires_grad_(False)
    leaves = fake.images = [image.detach().requires_grad_() for image in fake.images]

    def sent_back(kinds: tuple[str, ...], losses: dict[str, Tensor], weights: dict[str, float]) -> None:
        chosen = [weights.get(k, 1.0) * v for k, v in losses.items() if k.startswith(kinds)]
        torch.stack(chosen).sum().backward()

    judged = measured("discriminators", lambda: _judge(training, discriminators, leaves, part))
    measured("discriminators", lambda: sent_back(("generator",), judged, {}))
    matched = measured("image encoder", lambda: _match(training, leaves[-1], part))
    weight = training.objective.lambda_damsm
    measured("image encoder", lambda: sent_back(("words", "sentence"), matched, dict.fromkeys(matched, weight)))
    discriminators.requires_grad_(True)
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


def _judge(training: GanTraining, discriminators: Any, images: list[Tensor], part: Part) -> dict[str, Tensor]:
    with training.autocast():
        judged = discriminators(images, part.text.sentence)
    weight = training.objective.generator_weight
    return {f"generator_{i}": generator_loss(a.float(), b.float(), weight) for i, (a, b) in enumerate(judged)}


def _match(training: GanTraining, image: Tensor, part: Part) -> dict[str, Tensor]:
    with training.autocast():
        regions, code = training.encoders.image(image)
    words, sentence = matching_losses(regions.float(), code.float(), part.text, training.objective)
    return {"words": words, "sentence": sentence}
