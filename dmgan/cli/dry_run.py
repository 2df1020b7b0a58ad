"""`--dry-run`: what a job would do, and all that is missing or wrong at once. Starts and writes nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Set
from pathlib import Path

from cluster.driver.captions import sides_note
from cluster.driver.checks import TRAINING, name_problems
from cluster.driver.machine import devices, kind_of_device, memory_bytes
from cluster.driver.preflight import dataset_problems, start_problems, wants_server
from cluster.driver.resources import ClusterError
from cluster.sizing.footprint import footprint
from cluster.worker.planned import planned_steps
from datasets import storage
from datasets.errors import UserError
from datasets.manifest import SPLIT_NAMES, Manifest, load_manifest
from datasets.ray_address import problem_of
from dmgan.config import Config
from dmgan.evaluation.protocol import protocol_numbers
from dmgan.runs.run import Run

__all__ = ["dry_run"]


def dry_run(config: Config, run: Run, stages: Set[str]) -> int:
    """Print the plan of `stages` (of pretrain, train, evaluate), then the problems; returns the exit code."""
    problems: list[UserError] = list(start_problems(config, run, stages))
    problems += _storage_problems(run)
    manifest = None
    if config.data.url and not _made_later(config, run):
        found = list(dataset_problems(config, stages))
        problems += found
        manifest = _manifest(config)
    problems += _room_problems(config, stages)
    for what, text in _plan(config, run, stages, manifest):
        print(f"{what:10}{text}")
    for number, problem in enumerate(problems, start=1):
        print(f"dmgan: {number} of {len(problems)}: {problem}", file=sys.stderr)
    print("nothing was started or written" if problems else "nothing is missing; nothing was started or written")
    return problems[0].exit_code if problems else 0


def _plan(config: Config, run: Run, stages: Set[str], manifest: Manifest | None) -> Iterator[tuple[str, str]]:
    trained, has_encoders = run.trained_steps(), run.has("encoders.safetensors")
    where = f"goes on, trained to step {trained}" if trained else "goes on" if run.has("run.yaml") else "new"
    yield "run", f"{run.url}: {where}"
    yield "dataset", _dataset(config, run, manifest)
    if manifest is not None and "train" in manifest.splits and stages & TRAINING and (note := sides_note(config)):
        yield "note", note
    if "pretrain" in stages:
        encoders = "done already" if has_encoders else _training(config, run, "pretrain", manifest)
        taken = config.pretrain.encoders is not None and not has_encoders
        yield "pretrain", f"encoders taken from {config.pretrain.encoders}" if taken else encoders
    if "train" in stages:
        yield "train", _training(config, run, "train", manifest)
    if "evaluate" in stages:
        numbers = protocol_numbers(config.evaluate)
        yield "evaluate", f"{numbers.images} images, protocol {config.evaluate.protocol}, {config.evaluate.features}"
    yield from _room(config)


def _dataset(config: Config, run: Run, manifest: Manifest | None) -> str:
    url = config.data.url or "data.url is not set"
    if manifest is not None:
        counts = " and ".join(f"{part.samples} {SPLIT_NAMES[name]}" for name, part in manifest.splits.items())
        return f"{url}: {counts} images of {manifest.resolution} pixels"
    if _made_later(config, run):
        server = "on a local S3 server, which the job starts" if _served(config, run) else "in a folder"
        drawn = "; birds are drawn and packed where they are not there yet" if config.data.draw_birds else ""
        return f"{url} {server}{drawn}"
    return f"{url}: cannot be read"


def _training(config: Config, run: Run, stage: str, manifest: Manifest | None) -> str:
    options = config.pretrain if stage == "pretrain" else config.train
    batch = config.pretrain.batch_size if stage == "pretrain" else config.train.images_a_step
    ends = f"{options.epochs} epochs" + (f" or {options.max_steps} steps" if options.max_steps else "")
    if manifest is not None:
        try:
            ends = f"to step {planned_steps(config, stage, manifest, run)}"
        except UserError:  # among the problems
            ends = "no step"
    what = "text and image encoders (DAMSM)" if stage == "pretrain" else f"{config.model.architecture}"
    zero = f", DeepSpeed ZeRO {config.deepspeed.zero_stage}" if stage == "train" else ""
    return f"{what}, {ends}, {batch * config.train.workers} images a step{zero}"


def _room(config: Config) -> Iterator[tuple[str, str]]:
    need, here = _memory_needed(config), memory_bytes(kind_of_device(config))
    counted = "not counted" if need is None else f"{need / 1e9:.2f} GB a worker in training, counted from shapes"
    if os.environ.get("RAY_ADDRESS"):
        yield "workers", f"{config.train.workers} on the Ray cluster at {os.environ['RAY_ADDRESS']}"
        yield "memory", counted
        return
    kind = kind_of_device(config)
    yield "workers", f"{config.train.workers}; this machine has {devices(kind)} {kind}s"
    yield "memory", f"{counted}; {_whose(kind)} {here / 1e9:.2f} GB"


def _room_problems(config: Config, stages: Set[str]) -> Iterator[UserError]:
    """Workers and memory that this machine has not; a Ray cluster that is there is asked when the job starts."""
    if address := os.environ.get("RAY_ADDRESS"):
        if (problem := problem_of(address)) is not None:
            yield ClusterError(f"RAY_ADDRESS={address}: {problem}")
        return
    kind = kind_of_device(config)
    there, wanted = devices(kind), config.train.fewest_workers
    if there < wanted:
        yield ClusterError(f"train.workers={wanted}: each worker needs one {kind}, this machine has {there}")
    need = (_memory_needed(config) or 0) * (1 if kind == "GPU" else wanted)
    here = memory_bytes(kind)
    if stages & TRAINING and there and need > here:
        yield ClusterError(
            f"train.batch_size={config.train.batch_size}: {wanted} workers need {need / 1e9:.2f} GB at "
            f"deepspeed.zero_stage={config.deepspeed.zero_stage}, {_whose(kind)} {here / 1e9:.2f} GB; "
            "python -m cluster.size says what takes it"
        )


def _memory_needed(config: Config) -> float | None:
    """Bytes of a worker in GAN training, counted as `python -m cluster.size` does; None of networks that are none."""
    if next(name_problems(config), None) is not None:
        return None
    return footprint(config, config.train.workers).gpu_bytes(config.deepspeed.zero_stage, config.train.workers)


def _whose(kind: str) -> str:
    return "each GPU has" if kind == "GPU" else "this machine has"


def _served(config: Config, run: Run) -> bool:
    try:
        return wants_server(config, run)
    except UserError:  # among the problems
        return False


def _made_later(config: Config, run: Run) -> bool:
    """Whether the dataset cannot be looked at yet: it is behind a server that the job starts, or drawn by it."""
    if _served(config, run):
        return True
    drawn = config.data.draw_birds and storage.is_local(config.data.url)
    return drawn and not storage.exists(storage.join(config.data.url, "manifest.json"))


def _manifest(config: Config) -> Manifest | None:
    try:
        return load_manifest(config.data.url)[0]
    except UserError:  # among the problems
        return None


def _storage_problems(run: Run) -> Iterator[UserError]:
    """Whether the run could be written, without writing."""
    if not storage.is_local(run.url):
        try:
            storage.list_folders(run.url.rpartition("/")[0])
        except UserError as error:
            yield error
        return
    folder = Path(run.url)
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield storage.StorageError(f"{run.url}: cannot be made: {folder} is not a folder that this user may write")
