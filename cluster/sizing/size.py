"""python -m cluster.size --preset coco --gpus 64: what a run will take, and which of the figures are measured.

Each line says where it comes from: counted (from shapes, exactly), measured (here, or in the run that is named), given
(on the command line) or assumed. docs/sizing.md explains the lines.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from cluster.sizing.footprint import Footprint, footprint, gan_step, pretraining_step
from cluster.sizing.link import ASSUMED, COUNTED, GIVEN, MEASURED, Link, Value, messages, network_bytes
from cluster.sizing.scaling import Job, scaling_report
from datasets import storage
from datasets.errors import run_command
from datasets.manifest import load_manifest
from datasets.plan import BLOCK_SAMPLES, batches_per_worker
from dmgan.config import Config, ConfigError, load_config
from dmgan.runs.run import Run

__all__ = ["Line", "main", "report"]

# Images/s where none are given, of the cub preset at 256 pixels.
_RATES = {
    "gpu": Value(31.0, ASSUMED, "the released code on a 12 GB GPU, as its users report; --measure on yours"),
    "cpu": Value(0.85, MEASURED, "two cores, batch 4, float32, docs/speed.md; --measure on yours"),
}
_NODE_GBIT, _NVLINK_GBYTE, _LATENCY = 100.0, 150.0, 30e-6
_BUCKET_RATE = 200e6  # bytes/s of one writer
_IMAGE_BYTES, _CAPTION_BYTES = 45e3, 2.5e3  # a photograph of 256 pixels as packed, its captions: docs/data.md
_SAMPLES = {"cub": 8_855, "coco": 82_783, "quickstart": 1_800, "birds-2": 15_000, "scenes": 16_000}  # for training
_PROBE_BYTES = 64 << 20


@dataclass(frozen=True)
class Line:
    what: str
    shown: str
    origin: str


def report(config: Config, options: argparse.Namespace, cost: Footprint) -> Iterator[Line]:
    """All lines. Raises ConfigError, StorageError or ManifestError where something that was named is not there."""
    rate, pretraining = _one_gpu(config, options)
    link = _link(options)
    sent, small = network_bytes(cost, config.deepspeed.zero_stage, options.gpus), messages(config, cost)
    communication = link.seconds(sent, small, options.gpus)
    step = config.train.images_a_step / rate.number + communication
    sample, samples = _dataset(config, options)
    yield Line("trained parameters", f"G {cost.generator:,}, D {cost.discriminators:,}", COUNTED)
    yield Line("gradients a step", _size(4 * (cost.generator + cost.discriminators)), COUNTED)
    alone = f"{rate.number:,.1f} images/s, {config.train.images_a_step / rate.number:.3f} s a step"
    yield Line("one GPU alone", alone, rate.origin)
    note = f"{COUNTED}, for ZeRO {config.deepspeed.zero_stage}"
    yield Line("each GPU sends", f"{_size(sent)} a step, about {small} small messages", note)
    yield Line("communication", f"{communication:.3f} s a step, nothing overlapped", _origins(link, options.gpus))
    over_network = sent / step if options.gpus > options.gpus_per_node else 0.0
    yield from _together(config, options.gpus, step, rate, over_network, sample)
    yield from _memory(cost, options.gpus)
    yield _checkpoint(config, cost, _bucket(options), step)
    yield from _duration(config, options.gpus, step, samples, pretraining)


def _together(
    config: Config, workers: int, step: float, rate: Value, over_network: float, sample: Value
) -> Iterator[Line]:
    """Images/s of all GPUs, and what that asks of network and bucket."""
    batch, above = config.train.images_a_step, "from the lines above"
    images = workers * batch / step
    share = 100 * images / (workers * rate.number)
    yield Line(f"{workers} GPUs", f"{images:,.0f} images/s, {share:.0f} % of so many alone", above)
    yield Line("network of a node", f"{8 * over_network / 1e9:.1f} Gbit/s in and out", above)
    yield Line("a stored sample", f"{sample.number / 1e3:.1f} kB", sample.origin)
    load = f"{images * sample.number / 1e9:.3f} GB/s, {images / BLOCK_SAMPLES * 2:,.1f} requests/s"
    yield Line("reading from the bucket", load, f"{above}, less what data.cache_dir holds")


def _memory(cost: Footprint, workers: int) -> Iterator[Line]:
    rest = (
        f"{_size(cost.activation_bytes)} activations, {_size(cost.frozen_bytes + cost.average_bytes)} encoders, average"
    )
    for stage in range(4):
        states = _size(cost.state_bytes(stage, workers))
        shown = f"{_size(cost.gpu_bytes(stage, workers))}: {states} weights, gradients, Adam; {rest}"
        yield Line(f"memory at ZeRO {stage}", shown, f"{COUNTED}, without what allocator, cuDNN and NCCL take")


def _checkpoint(config: Config, cost: Footprint, writing: Value, step: float) -> Line:
    seconds, every = cost.checkpoint_bytes / writing.number, config.checkpoint.every_steps * step
    shown = f"{_size(cost.checkpoint_bytes)}, {seconds:.0f} s beside training, one every {every:,.0f} s"
    return Line("a checkpoint", shown, f"{COUNTED}; written at {writing.number / 1e6:,.0f} MB/s, {writing.origin}")


def _duration(config: Config, workers: int, step: float, samples: Value, pretraining: Value | None) -> Iterator[Line]:
    """Days to the configuration's epochs, which are the paper's in its presets. Raises ConfigError where a step does
    not fit the split."""
    batch, epochs = config.train.images_a_step, config.train.epochs
    steps = batches_per_worker(int(samples.number), batch, workers) * epochs
    if not steps:
        raise ConfigError(f"--gpus {workers}: {workers * batch} images a step, the split has {samples.number:,.0f}")
    shown = f"{steps * step / 86400:,.2f} days, {steps:,} steps of {workers * batch} images"
    note = f"{samples.number:,.0f} images {samples.origin}; the paper's batch is 10: more is another training"
    yield Line(f"{epochs} epochs", shown, note)
    if pretraining is not None:
        days = samples.number * config.pretrain.epochs / (pretraining.number * workers) / 86400
        shown = f"{days:,.2f} days at {pretraining.number:,.0f} images/s a GPU"
        yield Line(f"before: {config.pretrain.epochs} of encoders", shown, f"{pretraining.origin}; talking not counted")


def _origins(link: Link, workers: int) -> str:
    used, unit = (
        (link.within, "GB/s in the node") if workers <= link.gpus_per_node else (link.between, "GB/s between nodes")
    )
    return (
        f"{used.number / 1e9:g} {unit} {used.origin}, {link.latency.number * 1e6:g} µs a message {link.latency.origin}"
    )


def _one_gpu(config: Config, options: argparse.Namespace) -> tuple[Value, Value | None]:
    """Images/s of one GPU in training and, where it was measured, in pre-training."""
    if options.images_per_second is not None:
        return Value(options.images_per_second, GIVEN), None
    if options.run is not None:
        return _of_run(Run(storage.absolute(options.run)))
    if options.measure:
        gan, encoders = gan_step(config, options.measure), pretraining_step(config, options.measure)
        memory = f", {_size(gan.peak_bytes)} of its memory in use" if gan.peak_bytes else ""
        note = f"here, on {gan.device}{memory}"
        return Value(gan.images_per_second, MEASURED, note), Value(encoders.images_per_second, MEASURED, note)
    rate = _RATES[options.device]
    measured_as = load_config("cub").model.image_sizes[-1], "float32"
    if rate.source == MEASURED and (config.model.image_sizes[-1], config.train.precision) != measured_as:
        return Value(rate.number, ASSUMED, f"as cub in float32 at 256 pixels: {rate.note}"), None
    return rate, None


def _of_run(run: Run) -> tuple[Value, Value | None]:
    if not run.has("run.yaml"):
        raise ConfigError(f"--run {run.url}: run.yaml: not found")
    workers, lines, found = run.read_config().train.workers, run.read_metrics(), {}
    for stage in ("train", "pretrain"):
        rates = [line.images_per_second for line in lines if line.stage == stage]
        if rates:
            middle = sorted(rates)[len(rates) // 2]
            note = f"median of {run.url} on {workers} workers, a worker's part"
            note += ", waiting for one another included" if workers > 1 else ""
            found[stage] = Value(middle / workers, MEASURED, note)
    if "train" not in found:
        raise ConfigError(f"--run {run.url}: metrics.jsonl has no line of GAN training")
    return found["train"], found.get("pretrain")


def _link(options: argparse.Namespace) -> Link:
    return Link(
        within=_given(options.nvlink_gbyte, _NVLINK_GBYTE, 1e9),
        between=_given(options.network_gbit, _NODE_GBIT, 1e9 / 8),
        latency=Value(_LATENCY, ASSUMED),
        gpus_per_node=options.gpus_per_node,
    )


def _given(value: float | None, otherwise: float, unit: float) -> Value:
    return Value(otherwise * unit, ASSUMED) if value is None else Value(value * unit, GIVEN)


def _dataset(config: Config, options: argparse.Namespace) -> tuple[Value, Value]:
    """Bytes of a stored sample, samples of the training split."""
    if options.data is not None:
        train = load_manifest(storage.absolute(options.data))[0].split("train")
        note = f"by the manifest of {options.data}"
        size = train.size / train.samples
        return Value(size, MEASURED, note), Value(train.samples, MEASURED, note)
    size = _IMAGE_BYTES * (config.model.image_sizes[-1] / 256) ** 2 + _CAPTION_BYTES
    name = str(options.preset).removesuffix("-released")
    if name not in _SAMPLES:
        raise ConfigError(f"--data: not given; expected the packed dataset of {options.preset}")
    return (
        Value(size, ASSUMED, "photographs stored as in docs/data.md, by area; --data reads yours"),
        Value(_SAMPLES[name], ASSUMED, f"of {name}; --data reads yours"),
    )


def _bucket(options: argparse.Namespace) -> Value:
    """Bytes/s that one process writes."""
    if options.storage is None:
        return Value(_BUCKET_RATE, ASSUMED)
    url = storage.join(storage.absolute(options.storage), f".probe-{os.getpid()}")
    content = os.urandom(_PROBE_BYTES)
    try:
        began = time.perf_counter()
        storage.write_bytes(url, content)
        return Value(
            len(content) / (time.perf_counter() - began), MEASURED, f"with {_size(_PROBE_BYTES)} to {options.storage}"
        )
    finally:
        storage.remove(url)


def _size(count: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.2f} {unit}"
    return f"{count:.0f} bytes"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cluster.size", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="coco", metavar="NAME_OR_FILE", help="as --config of dmgan.launch")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; repeatable")
    parser.add_argument("--gpus", type=int, default=8, metavar="N", help="workers, a GPU each (default 8)")
    parser.add_argument("--gpus-per-node", type=int, default=8, metavar="N", help="default 8")
    speed = parser.add_argument_group("how fast one GPU is").add_mutually_exclusive_group()
    speed.add_argument("--measure", type=int, nargs="?", const=3, metavar="STEPS", help="time steps on this machine")
    speed.add_argument("--run", metavar="DIR_OR_S3_URL", help="as fast as this run was a worker")
    speed.add_argument("--images-per-second", type=float, metavar="X", help="of one GPU")
    speed.add_argument("--device", choices=tuple(_RATES), default="gpu", help="as measured or assumed (default gpu)")
    group = parser.add_argument_group("what is around it")
    group.add_argument("--data", metavar="DIR_OR_S3_URL", help="a packed dataset: sizes and samples as they are")
    group.add_argument("--storage", metavar="DIR_OR_S3_URL", help="time writing 64 MiB there")
    group.add_argument("--network-gbit", type=float, metavar="X", help=f"of a node (assumed {_NODE_GBIT:g})")
    group.add_argument("--nvlink-gbyte", type=float, metavar="X", help=f"GB/s of a GPU in a node ({_NVLINK_GBYTE:g})")
    parser.add_argument("--scaling", action="store_true", help="also 1 to 512 GPUs at each ZeRO stage, as Markdown")
    parser.add_argument("--markdown", action="store_true", help="a table for a page")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command("size", partial(_carry_out, _parser().parse_args(arguments)))


def _carry_out(options: argparse.Namespace) -> int:
    for flag in ("gpus", "gpus_per_node", "measure", "images_per_second", "network_gbit", "nvlink_gbyte"):
        value = getattr(options, flag)
        if value is not None and not value > 0:
            raise ConfigError(f"--{flag.replace('_', '-')} {value:g}: expected more than 0")
    config = load_config(options.preset, options.set)
    cost = footprint(config, options.gpus)
    lines = list(report(config, options, cost))
    _print(lines, config, options)
    if options.scaling:
        alone = config.train.images_a_step / _one_gpu(config, options)[0].number
        print("\n" + "\n".join(scaling_report(Job(config, cost, _link(options), alone))))
    return 0


def _print(lines: list[Line], config: Config, options: argparse.Namespace) -> None:
    if options.markdown:
        print("| | | |\n|---|---|---|")
        print("\n".join(f"| {line.what} | {line.shown} | {line.origin} |" for line in lines))
        return
    print(f"{options.preset}, {options.gpus} GPUs, batch {config.train.batch_size} a GPU, {config.train.precision}\n")
    wide = max(len(line.what) for line in lines)
    for line in lines:
        print(f"{line.what:{wide}}  {line.shown}\n{'':{wide}}    ({line.origin})")
