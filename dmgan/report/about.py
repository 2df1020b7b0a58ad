"""What a run is and what it took: data, parameters, machine, time, code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from dmgan.architectures import build_gan_discriminators, build_generator
from dmgan.config import Config
from dmgan.evaluation.record import read_evaluation
from dmgan.model.build import build_encoders
from dmgan.report.numbers import duration, millions
from dmgan.runs.machine import Machine, read_machines
from dmgan.runs.metrics import MetricsLine
from dmgan.runs.run import Run

__all__ = ["about", "training_seconds"]

_NOT_RECORDED = "not recorded"


def about(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """A row a fact, with its value of each run. Raises ConfigError."""
    columns = [_facts(run) for run in runs]
    names = dict.fromkeys(name for column in columns for name in column)
    return [(name, [column.get(name, "") for column in columns]) for name in names]


def _facts(run: Run) -> dict[str, str]:
    config, metrics, machines = run.read_config(), run.read_metrics(), read_machines(run)
    machine = machines.get("train") or machines.get("pretrain")
    evaluation = read_evaluation(run)
    facts = {
        "Dataset": config.data.url,
        "Model": f"{config.model.architecture}, memory {config.model.memory}, "
        f"{' → '.join(str(size) for size in config.model.image_sizes)} pixels",
        **_parameters(config, run),
        "Machine": _machine(machine) if machine is not None else _NOT_RECORDED,
        "Training on": _workers(config, machine),
        "Encoders trained": _training(metrics, "pretrain", config.pretrain.encoders),
        "GAN trained": _training(metrics, "train", None),
    }
    if evaluation is not None:
        facts["Evaluated"] = f"{evaluation.images:,} images in {duration(evaluation.seconds)}"
    return facts | {"Code": _code(machine) if machine is not None else _NOT_RECORDED}


def _parameters(config: Config, run: Run) -> dict[str, str]:
    """Counted from shapes: no weights are read."""
    record = run.read_generator_record()
    model = record.model if record is not None else config.model
    with torch.device("meta"):
        networks = {"Generator": build_generator(model), "Discriminators": build_gan_discriminators(model)}
    encoders = build_encoders(config.model, len(run.read_tokenizer(config)))
    networks |= {"text encoder": encoders.text, "image encoder": encoders.image}
    counted = ", ".join(f"{name.lower()} {millions(_count(network))}" for name, network in networks.items())
    return {"Parameters": counted}


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _machine(machine: Machine) -> str:
    kind = f"GPU {machine.device}" if machine.gpu else machine.device
    return f"{kind}; {machine.cores} cores, {machine.memory / 2**30:.0f} GiB of memory"


def _workers(config: Config, machine: Machine | None) -> str:
    count = config.train.workers if machine is None else machine.workers
    workers = f"{count} worker{'s' if count > 1 else ''}"
    if machine is not None and machine.workers_here < machine.workers:
        workers += f", {machine.workers_here} of them on that machine"
    images = f"{config.train.images_a_step} images a step each"
    return f"{workers}, {images}, DeepSpeed ZeRO {config.deepspeed.zero_stage}, {config.train.precision}"


def _training(metrics: Sequence[MetricsLine], stage: str, origin: str | None) -> str:
    lines = [line for line in metrics if line.stage == stage]
    if not lines:
        return f"taken from {origin}" if origin is not None else _NOT_RECORDED
    last, seconds = lines[-1], training_seconds(lines)
    rate = f", {last.images / seconds:.1f} images/s" if seconds > 0 else ""
    return f"{last.step:,} steps, {last.images:,} images, {last.epoch:.3g} epochs in {duration(seconds)}{rate}"


def training_seconds(lines: Sequence[MetricsLine]) -> float:
    """What the steps of a stage's lines took, without starts, and once where a resumed run made some again."""
    seconds, before = 0.0, 0
    for line in lines:
        if line.images_per_second > 0:
            seconds += (line.images - before) / line.images_per_second
        before = line.images
    return seconds


def _code(machine: Machine) -> str:
    commit = f", commit {machine.commit}" if machine.commit is not None else ""
    return f"dmgan {machine.version}{commit}; {_packages(machine.packages)}"


def _packages(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
