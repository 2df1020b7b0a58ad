"""The loop every training stage runs on every worker: batches, steps, log lines, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice

import ray.train
import safetensors.torch
import torch
from torch import Tensor

from cluster.worker.checkpoints import Checkpoints
from cluster.worker.control import Reporter
from cluster.worker.eviction import Evictions
from cluster.worker.health import Health
from cluster.worker.position import Position
from cluster.worker.recorder import Recorder
from cluster.worker.state import CheckpointState
from cluster.worker.stopping import Agreement, Wish
from datasets.manifest import Manifest
from datasets.storage.lease import LeaseToken
from datasets.stream import Skipped, open_stream
from dmgan.config import Config
from dmgan.model import collective
from dmgan.model.tokenizers import Tokenizer
from dmgan.runs.machine import record_machine, this_machine
from dmgan.runs.metrics import MetricsLine, SkippedSamples
from dmgan.runs.reading import read_options
from dmgan.runs.run import Run
from dmgan.seeds import seed_of
from dmgan.training.ahead import ahead
from dmgan.training.batch import TrainingBatch, tokenised
from dmgan.training.engine import Engine, EngineState, cpu_copy
from dmgan.training.outcome import Outcome

__all__ = ["Stage", "StageExports", "run_stage"]

Content = Callable[[], bytes]
# (states by engine, extra modules' tensors, step) -> what goes into the run's folder, made while training goes on
StageExports = Callable[[Mapping[str, EngineState], Mapping[str, dict[str, Tensor]], int], dict[str, Content]]


@dataclass
class Stage:
    """What one stage trains: `step(batch, number)` moves it on; engines and extra modules make its state."""

    name: str
    batch_size: int
    steps: int
    manifest: Manifest
    step: Callable[[TrainingBatch, int], Outcome]
    engines: dict[str, Engine]
    exports: StageExports
    tokenizer: Tokenizer  # of the text encoder that the stage trains or uses
    extra: dict[str, torch.nn.Module] = field(default_factory=dict)  # alike on every worker
    samples: Callable[[int], bytes | None] = lambda done: None  # after each step on rank 0: a picture, where it is due


def run_stage(
    stage: Stage, config: Config, run: Run, device: torch.device, report: Reporter, lease: LeaseToken | None = None
) -> bool:
    """Train from the newest checkpoint (or from the start) to `stage.steps`, or until asked to stop; with a checkpoint.

    Returns whether the stage is done. Raises NonFiniteError, DatasetError, StorageError;
    LeaseError where another driver has taken the run over.
    """
    checkpoints = Checkpoints(run, config.checkpoint.keep, report.warn, lease)
    position = _restore(stage, checkpoints)
    first = collective.rank() == 0
    recorder = Recorder(run, stage.name, position.step, config.loggers, report.warn) if first else None
    if first:
        record_machine(run, stage.name, this_machine(device, collective.world_size()))
    health, skipped, agreement, evictions = Health(run, stage.name), Skipped(), Agreement(), Evictions()
    wanted = islice(_batches(stage, config, position, skipped), stage.steps - position.step)
    batches = ahead(wanted, device, depth=int(device.type == "cuda"))
    since, logged = time.monotonic(), position.step
    report(stage.name, position.step, stage.steps)
    stopping = False
    if position.step == stage.steps:  # the checkpoint of the end is there; a kill may have kept from what follows it
        checkpoints.export(_contents(stage, position)[2])
    while position.step < stage.steps and not stopping:
        keys, batch = next(batches)
        # A step's random draws are a function of seed and step, so a resumed run makes the same ones, on any workers.
        torch.manual_seed(seed_of(config.train.seed, position.step))
        outcome = stage.step(batch, position.step)
        position = position.after_step()
        done, last = position.step, position.step == stage.steps
        health.add(done, outcome, keys)
        note = None
        if done % config.train.log_every == 0 or last:
            rate = (done - logged) / (time.monotonic() - since)
            line = _log_line(stage, position, outcome, skipped, rate, health)
            health.check(stage.engines)
            since, logged = time.monotonic(), done
            if recorder is not None:
                recorder.line(line)
            note = f"{line.images_per_second:.0f} images/s"
        if first:
            report(stage.name, done, stage.steps, note)
            if (png := stage.samples(done)) is not None and recorder is not None:
                recorder.samples(png, done)
        agreed = agreement(Wish.STOP if report.stop_wanted() else Wish.CHECKPOINT if evictions() else Wish.NOTHING)
        stopping = agreed is Wish.STOP
        if done % config.checkpoint.every_steps == 0 or last or agreed is not Wish.NOTHING:
            health.check(stage.engines)
            if recorder is not None:
                recorder.save()
            _checkpoint(stage, config, position, checkpoints)
    if recorder is not None:
        recorder.close()
    agreement.close()
    checkpoints.wait()
    return position.step >= stage.steps


def _batches(
    stage: Stage, config: Config, position: Position, skipped: Skipped
) -> Iterator[tuple[list[str], TrainingBatch]]:
    """Samples' keys and batches from the position on, epoch after epoch."""
    options = read_options(config.data)
    while True:
        for batch in open_stream(
            config.data.url,
            split="train",
            batch_size=stage.batch_size,
            rank=collective.rank(),
            world_size=collective.world_size(),
            epoch=position.epoch,
            seed=config.train.seed,
            start=position.batches,
            legs=position.legs,
            options=options,
            skipped=skipped,
            manifest=stage.manifest,
        ):
            yield batch.keys, tokenised(batch, stage.tokenizer, config.data.max_words)
        position = replace(position, epoch=position.epoch + 1, batches=0, legs=())


def _log_line(
    stage: Stage, position: Position, outcome: Outcome, skipped: Skipped, steps_per_second: float, health: Health
) -> MetricsLine:
    """The line of metrics.jsonl; the one place between checkpoints where the host waits for the device."""
    losses = outcome.losses
    lost = torch.full_like(next(iter(losses.values())), skipped.samples)
    *total, lost_everywhere = collective.all_reduce_sum(torch.stack([*losses.values(), lost]).float()).tolist()
    means = [value / collective.world_size() for value in total]
    replaced = None
    if lost_everywhere:
        reasons = collective.gather_objects(next(chain(skipped.shards, skipped.images), None))
        replaced = SkippedSamples(samples=int(lost_everywhere), reason=next(filter(None, reasons)))
        skipped.shards.clear()
        skipped.images.clear()
    statistics, warnings = health.statistics()
    return MetricsLine(
        stage=stage.name,
        step=position.step,
        epoch=round(position.progress, 3),
        images=position.images,
        images_per_second=round(steps_per_second * position.world_size * position.batch_size, 2),
        losses={name: round(value, 6) for name, value in zip(losses, means, strict=True)},
        statistics=statistics,
        learning_rates={name: engine.lr for name, engine in stage.engines.items()},
        warnings=warnings,
        skipped=replaced,
    )


def _checkpoint(stage: Stage, config: Config, position: Position, checkpoints: Checkpoints) -> None:
    """Copy everything to the host and have rank 0 write it while training goes on."""
    whole, extra, exports = _contents(stage, position)
    ray.train.report({"stage": stage.name, "step": position.step})
    if collective.rank() != 0:
        return
    files: dict[str, Content] = {f"{name}.safetensors": state.to_bytes for name, state in whole.items()}
    files |= {f"{name}.safetensors": partial(safetensors.torch.save, tensors) for name, tensors in extra.items()}
    files["vocabulary.json"] = stage.tokenizer.to_json().encode
    state = CheckpointState(
        stage=stage.name, position=position, seed=config.train.seed, config=config.model_dump(mode="json")
    )
    checkpoints.save(state, files, exports)


def _contents(
    stage: Stage, position: Position
) -> tuple[dict[str, EngineState], dict[str, dict[str, Tensor]], dict[str, Content]]:
    """Copies on the host of all that is trained, and what goes into the run's folder; empty but on rank 0."""
    states = {name: engine.state() for name, engine in stage.engines.items()}
    if collective.rank() != 0:
        return {}, {}, {}
    whole = {name: state for name, state in states.items() if state is not None}
    extra = {name: cpu_copy(module.state_dict()) for name, module in stage.extra.items()}
    return whole, extra, stage.exports(whole, extra, position.step)


def _restore(stage: Stage, checkpoints: Checkpoints) -> Position:
    """Everything from the stage's newest intact checkpoint; the start where there is none."""
    fresh = Position(collective.world_size(), stage.batch_size, stage.manifest.split("train").samples)
    chosen = checkpoints.newest_intact(stage.name) if collective.rank() == 0 else None
    name = collective.gather_objects(chosen)[0]  # all go on from the same
    if name is None:
        return fresh
    state = checkpoints.state(name)
    for key, engine in stage.engines.items():
        engine.load_state(EngineState.from_bytes(checkpoints.read(name, f"{key}.safetensors", state)))
    for key, module in stage.extra.items():
        module.load_state_dict(safetensors.torch.load(checkpoints.read(name, f"{key}.safetensors", state)))
    return state.position.with_workers(collective.world_size(), stage.batch_size)
