"""A new run that goes on from another one's checkpoint, with its configuration or with other values of some keys."""

from __future__ import annotations

from cluster.worker.checkpoints import Checkpoints, copy_checkpoint
from datasets import storage
from dmgan.config import Config, ConfigError
from dmgan.runs.folder import ORIGIN
from dmgan.runs.run import Run

__all__ = ["branch", "checkpoint_of"]


def checkpoint_of(source: Run, step: int | None, flag: str) -> int:
    """The step of a GAN checkpoint: the newest, or `step`. Raises ConfigError, which begins with `flag`."""
    there = [state.step for _, state in Checkpoints(source).states("train")]
    if not there:
        raise ConfigError(f"{flag}: {source.path('checkpoints')} has no checkpoint of the GAN to go on from")
    if step is not None and step not in there:
        listed = ", ".join(map(str, sorted(there)))
        raise ConfigError(f"{flag}: no checkpoint of step {step}; there are: {listed} (checkpoint.keep says how many)")
    return there[0] if step is None else step


def branch(source: Run, target: Run, step: int, config: Config) -> None:
    """Make `target` the run that `source` was after `step` steps, with another configuration; run.yaml comes last.

    Metrics and samples up to the step go along. Raises ConfigError where there is a run, StorageError for a damaged
    checkpoint.
    """
    if target.has("run.yaml") or target.has("sweep.json"):
        raise ConfigError(f"{target.url}: exists; choose another name")
    copy_checkpoint(source, target, step)
    lines = [line for line in source.read_metrics() if line.stage != "train" or line.step <= step]
    text = "".join(line.model_dump_json(exclude_defaults=True) + "\n" for line in lines)
    storage.write_bytes(target.path("metrics.jsonl"), text.encode())
    for name in storage.list_sizes(source.path("samples")):
        number = name.removeprefix("step_").partition(".")[0]
        if number.isdigit() and int(number) <= step:
            storage.write_bytes(target.path("samples", name), storage.read_bytes(source.path("samples", name)))
    target.write_json(ORIGIN, {"run": source.url, "step": step})
    target.write_config(config)
