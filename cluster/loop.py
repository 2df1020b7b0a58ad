"""The loop every training stage runs on every worker: batches, steps, log lines, checkpoints."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import ray.train
import torch
from torch import Tensor

from cluster.engines import DeepSpeedEngine
from cluster.progress import Reporter
from datasets.cache import ShardCache
from datasets.storage import Retry
from datasets.stream import ReadOptions, Skipped, open_stream
from dmgan import collective
from dmgan.config import Config
from dmgan.run import MetricsLog, Run
from dmgan.seeds import seed_of

__all__ = ["Stage", "run_stage"]


@dataclass
class Stage:
    """What one stage trains: `step(batch, number)` gives losses; engines and extra tensors make its state."""

    name: str
    batch_size: int
    steps: int
    steps_per_epoch: int
    step: Callable[[dict[str, Any], int], dict[str, Tensor]]
    engines: dict[str, DeepSpeedEngine]
    extra: dict[str, torch.nn.Module] = field(default_factory=dict)  # alike on every worker
    on_step: Callable[[int], None] = lambda done: None  # after each step, on rank 0
    on_checkpoint: Callable[[int], None] = lambda done: None  # on every worker


def run_stage(stage: Stage, config: Config, run: Run, device: torch.device, report: Reporter) -> None:
    """Train from the newest checkpoint (or from the start) to `stage.steps`, ending with a checkpoint."""
    done = _restore(stage)
    first = collective.rank() == 0
    if first:
        report(stage.name, done, stage.steps)
    log = MetricsLog(run, stage.name, done) if first else None
    skipped = Skipped()
    batches = _batches(stage, config, done, device, skipped)
    since, logged = time.monotonic(), done
    while done < stage.steps:
        # A step's random draws are a function of seed, step and worker, so a resumed run makes the same ones.
        torch.manual_seed(seed_of(config.train.seed, done, collective.rank()))
        losses = stage.step(next(batches), done)
        done += 1
        note = None
        if done % config.train.log_every == 0 or done == stage.steps:
            line = _log_line(stage, losses, skipped, done, (done - logged) / (time.monotonic() - since))
            since, logged = time.monotonic(), done
            if log is not None:
                log.append(line)
                note = f"{line['images_per_second']:.0f} images/s"
        if first:
            report(stage.name, done, stage.steps, note)
            stage.on_step(done)
        if done % config.checkpoint.every_steps == 0 or done == stage.steps:
            if log is not None:
                log.save()
            stage.on_checkpoint(done)
            _checkpoint(stage, done)


def _batches(
    stage: Stage, config: Config, done: int, device: torch.device, skipped: Skipped
) -> Iterator[dict[str, Any]]:
    """Batches from step `done` on, epoch after epoch."""
    data = config.data
    epoch, start = divmod(done, stage.steps_per_epoch)
    while True:
        for batch in open_stream(
            data.url,
            split="train",
            batch_size=stage.batch_size,
            rank=collective.rank(),
            world_size=collective.world_size(),
            epoch=epoch,
            seed=config.train.seed,
            start=start,
            max_words=data.max_words,
            options=ReadOptions(
                loaders=data.loaders,
                retry=Retry(attempts=data.retries, timeout=data.timeout_seconds),
                on_bad_shard=data.on_bad_shard,
                cache=ShardCache(Path(data.cache_dir), data.cache_bytes) if data.cache_dir else None,
            ),
            skipped=skipped,
        ):
            yield {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
        epoch, start = epoch + 1, 0


def _log_line(
    stage: Stage, losses: dict[str, Tensor], skipped: Skipped, done: int, steps_per_second: float
) -> dict[str, Any]:
    images = stage.batch_size * collective.world_size()
    lost = torch.full_like(next(iter(losses.values())), skipped.samples)
    *total, lost_everywhere = collective.all_reduce_sum(torch.stack([*losses.values(), lost]).float()).tolist()
    means = [value / collective.world_size() for value in total]
    line = {
        "step": done,
        "epoch": round(done / stage.steps_per_epoch, 3),
        "images": done * images,
        "images_per_second": round(steps_per_second * images, 2),
        "losses": {name: round(value, 6) for name, value in zip(losses, means, strict=True)},
    }
    if lost_everywhere:
        reasons = collective.gather_objects(next(chain(skipped.shards, skipped.images), None))
        line["skipped"] = {"samples": int(lost_everywhere), "reason": next(filter(None, reasons))}
        skipped.shards.clear()
        skipped.images.clear()
    return line


def _checkpoint(stage: Stage, done: int) -> None:
    """Save everything and hand it to Ray Train, which merges the workers' files, uploads and prunes."""
    folder = Path(tempfile.mkdtemp(prefix="dmgan-checkpoint-"))
    try:
        for name, engine in stage.engines.items():
            engine.save(folder / name)
        if collective.rank() == 0:
            for name, module in stage.extra.items():
                torch.save(module.state_dict(), folder / f"{name}.pt")
            (folder / "state.json").write_text(json.dumps({"stage": stage.name, "step": done}))
        checkpoint = ray.train.Checkpoint.from_directory(str(folder))
        ray.train.report({"stage": stage.name, "step": done}, checkpoint=checkpoint)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _restore(stage: Stage) -> int:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as path:
        folder = Path(path)
        state = json.loads((folder / "state.json").read_text())
        if state["stage"] != stage.name:  # the stage before ended with it
            return 0
        for name, engine in stage.engines.items():
            engine.load(folder / name)
        for name, module in stage.extra.items():
            module.load_state_dict(torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True))
        return int(state["step"])
