"""How long a stage trains."""

from __future__ import annotations

from cluster.worker.checkpoints import Checkpoints
from cluster.worker.position import Position
from datasets.manifest import Manifest
from datasets.plan import batches_per_worker
from dmgan.config import Config, ConfigError
from dmgan.runs.run import Run

__all__ = ["planned_steps"]


def planned_steps(config: Config, stage: str, manifest: Manifest, run: Run | None = None) -> int:
    """The step at which a stage ends, from where `run` stands if it is given. Raises ConfigError if there is none."""
    options = config.pretrain if stage == "pretrain" else config.train
    batch_size = config.pretrain.batch_size if stage == "pretrain" else config.train.images_a_step
    samples = manifest.split("train").samples
    if batches_per_worker(samples, batch_size, config.train.workers) == 0:
        raise ConfigError(
            f"{stage}.batch_size={options.batch_size}: {config.train.workers} workers need "
            f"{batch_size * config.train.workers} training images a step, {config.data.url} has {samples}"
        )
    position = Position(config.train.workers, batch_size, samples)
    if run is not None:
        for _, state in Checkpoints(run).states(stage):
            position = state.position.with_workers(config.train.workers, batch_size)
            break
    return position.steps(options.epochs, options.max_steps)
