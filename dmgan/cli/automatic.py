"""`--config auto`: the preset and keys that fit the packed dataset at data.url and the devices that are there.

RUN/run.yaml has what was chosen for a new run. A run that is there keeps its own keys, on whatever machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from datasets import storage
from datasets.manifest import load_manifest
from dmgan.config import AUTO, Config, ConfigError, SourcedConfig, load_chosen, load_sourced
from dmgan.runs.folder import RunFolder

__all__ = ["Choice", "Dataset", "Hardware", "automatic_configuration", "choose", "fit_memory"]

_FLAG = f"--config {AUTO}"
_WORLDS = {"drawn birds": "quickstart", "drawn birds 2": "birds-2", "drawn scenes": "scenes"}  # by the dataset's name
_WORLD = 1_000  # training images that a whole drawn world has at least; its preset is for that
_MANY = 20_000  # training images from which λ2 and epochs are COCO's rather than CUB's
_PIXELS = (16, 32, 64, 128, 256, 512, 1024)
_SIDED = 0.01  # share of captions that say left or right from which images are not mirrored
_MOST_PROCESSES = 4  # workers on processors: small networks gain little from more
_STEPS = {"pretrain.max_steps": 1000, "train.max_steps": 4000}  # on processors alone


@dataclass(frozen=True)
class Dataset:
    """What of a packed dataset the choice depends on."""

    url: str
    name: str
    pixels: int  # a side of an image
    images: int  # for training
    sided: float  # share of training captions that say left or right


@dataclass(frozen=True)
class Hardware:
    """The devices that workers get one of each."""

    kind: str  # GPU or CPU
    devices: int
    memory: float  # bytes of the smallest GPU, or of the machine


@dataclass
class Choice:
    """A preset and values of keys over it, each with its reason."""

    preset: str
    reason: str
    values: dict[str, tuple[object, str]] = field(default_factory=dict)


def automatic_configuration(
    run: RunFolder, overrides: Sequence[str], flags: Mapping[str, tuple[str, object]]
) -> SourcedConfig:
    """What is chosen for a new run, or a run's own configuration; then --set and other flags. Raises ConfigError."""
    if run.has("run.yaml"):
        return _of_run(run, overrides, flags)
    given = load_sourced("small", overrides, flags)
    asked = {key for key, source in given.sources.items() if source.startswith("--")}
    if not given.config.data.url:
        raise ConfigError(
            f"data.url: not set; {_FLAG} looks at the packed dataset: expected --set data.url=DIR_OR_S3_URL"
        )
    if given.config.data.local_s3:
        raise ConfigError(
            f"data.local_s3=true: {_FLAG} reads the dataset before a job could start a server; expected a folder, or "
            "AWS_ENDPOINT_URL"
        )
    machine = _machine(given.config, asked)
    choice = choose(_dataset(given.config), machine, given.config, asked)
    fit_memory(choice, machine, given.config, asked)
    return load_chosen(choice.preset, choice.reason, choice.values, overrides, flags)


def _of_run(run: RunFolder, overrides: Sequence[str], flags: Mapping[str, tuple[str, object]]) -> SourcedConfig:
    own = run.read_config()
    sourced = load_sourced(own, overrides, flags, called=run.path("run.yaml"))
    before, now = own.data.url, sourced.config.data.url
    if before and storage.absolute(now) != before:
        raise ConfigError(
            f"data.url={now}: run {run.name} was begun with {before}, for which its keys were chosen; expected another "
            "--name"
        )
    note = f"run {run.name} is there and keeps its keys: {run.path('run.yaml')}"
    return SourcedConfig(sourced.config, sourced.sources, (note,))


def _dataset(config: Config) -> Dataset:
    from cluster.driver.captions import sided_captions
    from dmgan.cli.command import installed

    with installed():
        manifest, _ = load_manifest(storage.absolute(config.data.url))
        sided, captions = sided_captions(config)
    return Dataset(
        url=config.data.url,
        name=manifest.name,
        pixels=manifest.resolution,
        images=manifest.split("train").samples,
        sided=sided / captions,
    )


def _machine(config: Config, asked: set[str]) -> Hardware:
    """This machine, or what the command line says of the nodes of a Ray cluster. Raises ConfigError."""
    from cluster.driver.machine import devices, kind_of_device, memory_bytes

    if not (address := os.environ.get("RAY_ADDRESS")):
        kind = kind_of_device(config)
        return Hardware(kind, devices(kind), memory_bytes(kind))
    if config.train.accelerator == "auto" or "train.workers" not in asked:
        raise ConfigError(
            f"{_FLAG}: looks at this machine's devices alone, not at those of RAY_ADDRESS={address}; expected "
            "--workers N and --set train.accelerator=gpu (or cpu)"
        )
    return Hardware(config.train.accelerator.upper(), config.train.workers, float("inf"))


def choose(dataset: Dataset, machine: Hardware, given: Config, asked: set[str]) -> Choice:
    """What fits, with reasons; `asked` are the keys whose values in `given` stand already. Raises ConfigError."""
    if dataset.pixels not in _PIXELS:
        raise ConfigError(
            f"{_FLAG}: {dataset.url} was packed for {dataset.pixels} pixels; expected one of "
            f"{', '.join(map(str, _PIXELS))}: pack it again, with --set resolution=64 say"
        )
    choice = _preset(dataset, machine, given)
    if choice.preset in _WORLDS.values():
        choice.values["data.local_s3"] = False, "the dataset is there already"
        return choice
    choice.values.update(_sizes(dataset))
    workers = given.train.workers if "train.workers" in asked else _workers(dataset, machine)
    choice.values.update(_division(dataset, machine, choice.preset, workers))
    if machine.kind == "CPU" and choice.preset == "small":
        reason = "on processors alone, for a first result"
        choice.values.update({key: (steps, reason) for key, steps in _STEPS.items()})
    if choice.preset != "small" and given.evaluate.features_weights is None:
        choice.values["evaluate.features"] = "damsm", "evaluate.features_weights is not set"
    if dataset.sided >= _SIDED:
        said = f"{100 * dataset.sided:.0f} % of the training captions say left or right"
        choice.values["data.mirror"] = False, said
    return choice


def _preset(dataset: Dataset, machine: Hardware, given: Config) -> Choice:
    seen = f"{dataset.images:,} training images of {dataset.pixels} pixels, {machine.devices} {machine.kind}s"
    if dataset.pixels == 64 and dataset.images >= _WORLD and (world := _WORLDS.get(dataset.name)):
        return Choice(world, f"the dataset is {dataset.name}")
    if dataset.pixels < 256:
        return Choice("small", seen)
    if machine.kind == "CPU":
        return Choice("small", f"{seen}; the paper's networks want GPUs, and images of 64 or 128 pixels train quicker")
    if given.pretrain.inception_weights is None and given.pretrain.encoders is None:
        return Choice("small", f"{seen}; the paper's networks want pretrain.inception_weights")
    return Choice("coco" if dataset.images >= _MANY else "cub", f"{seen}: the paper's networks")


def _sizes(dataset: Dataset) -> Iterator[tuple[str, tuple[object, str]]]:
    base, refinements = max(8, dataset.pixels // 4), 1 if dataset.pixels == 16 else 2
    reason = f"the dataset was packed for {base * 2**refinements} pixels"
    yield "model.base_size", (base, reason)
    yield "model.refinements", (refinements, reason)


def _workers(dataset: Dataset, machine: Hardware) -> int:
    most = machine.devices if machine.kind == "GPU" else min(machine.devices, _MOST_PROCESSES)
    return max(1, min(most, dataset.images // 4))


def _division(
    dataset: Dataset, machine: Hardware, preset: str, workers: int
) -> Iterator[tuple[str, tuple[object, str]]]:
    """Workers, and batches that no worker is without. Raises ConfigError."""
    there = f"{machine.devices} {machine.kind}s"
    share = dataset.images // workers
    if share < 2:
        raise ConfigError(
            f"{_FLAG}: {dataset.url} has {dataset.images} training images for {workers} workers; expected 2 or more "
            "for each"
        )
    yield "train.workers", (workers, there)
    if machine.kind == "CPU":
        yield "train.threads", (max(1, machine.devices // workers), f"{there} for {workers} workers")
        if workers > 1:
            yield "train.batch_statistics", ("local", "fewer messages between processes")
    if preset == "small":
        in_all, fewest = (32, 8) if machine.kind == "GPU" else (16, 4)
        batches = {"train": max(in_all // workers, fewest), "pretrain": 32}
    else:
        batches = {"train": 10, "pretrain": 48}
    for stage, batch in batches.items():
        reason = f"{batch * workers} images a step" if batch <= share else f"a worker has {share} training images"
        yield f"{stage}.batch_size", (min(batch, share), reason)


def fit_memory(choice: Choice, machine: Hardware, given: Config, asked: set[str]) -> None:
    """Halve the batch until a worker's memory, as `python -m cluster.size` counts it, is within nine tenths."""
    from cluster.sizing.footprint import footprint
    from dmgan.config import with_values

    base = load_chosen(choice.preset, choice.reason, choice.values, (), {}).config
    while "train.batch_size" in choice.values and "train.batch_size" not in asked:
        config = with_values(base, {key: given.value(key) for key in asked if key != "data.draw_birds"})
        config = with_values(config, {"train.batch_size": choice.values["train.batch_size"][0]})
        workers = config.train.workers
        together = 1 if machine.kind == "GPU" else workers
        need = footprint(config, workers).gpu_bytes(config.deepspeed.zero_stage, workers) * together
        if need <= 0.9 * machine.memory or config.train.batch_size < 4:
            return
        reason = f"{machine.memory / 1e9:.1f} GB of memory"
        choice.values["train.batch_size"] = config.train.batch_size // 2, reason
