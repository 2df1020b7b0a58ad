"""Training as a Ray Train job: DAMSM pre-training and the GAN, one after the other, on the same workers."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from functools import partial

from cluster.driver.failures import workers_as_one_line
from cluster.driver.signals import run_interruptibly
from cluster.placement import on_our_own, uses_gpus
from cluster.worker.control import shown_progress
from cluster.worker.stages import train_on_worker
from datasets.errors import UserError
from datasets.storage.environment import storage_environment
from datasets.storage.lease import LeaseToken
from dmgan.config import Config
from dmgan.runs.loggers.logger import logger_environment
from dmgan.runs.run import Run

__all__ = ["TrainingError", "fit"]


class TrainingError(UserError):
    """Training cannot go on, however often its workers are started again; one line."""

    exit_code = 1


# Ray Train notices a report at its health checks; at the default of 2 s every checkpoint would cost that.
_ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"}
# No other node than this one can be taken away, which `cluster.drain` announces: Ray's watcher is one process less.
_ON_OUR_OWN = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}


def fit(
    config: Config, run: Run, stages: Sequence[str], on_stage: Callable[[str], None], lease: LeaseToken | None = None
) -> None:
    """Train what is left of `stages` (of "pretrain", "train"), one after the other, in one Ray Train job.

    `pretrain` gives RUN/encoders.safetensors, `train` RUN/generator.safetensors; both go on from the run's newest
    checkpoint, whatever number of workers and ZeRO stage wrote it. `on_stage` is called with a stage's name when its
    first step is near; workers write while `lease` is held. Raises TrainingError for what starting the workers again
    would not mend (unreadable data, non-finite losses), StoppedError on SIGINT, SIGTERM and SIGHUP, WorkerError where
    workers failed too often.
    """
    os.environ.update(_ENVIRONMENT | _ON_OUR_OWN if on_our_own() else _ENVIRONMENT)
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig

    from cluster.driver.trainer import Trainer

    gpu, environment = uses_gpus(config), storage_environment() | logger_environment()
    workers, fewest = config.train.workers, config.train.fewest_workers
    with shown_progress(on_stage, "step") as report:
        trainer = Trainer(
            partial(train_on_worker, config, run, tuple(stages), report, environment, lease),
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=workers if fewest == workers else (fewest, workers), use_gpu=gpu),
            run_config=RunConfig(
                name=f"dmgan-{uuid.uuid4().hex[:12]}",  # Ray's own state of a job; the run's is in its checkpoints
                failure_config=FailureConfig(max_failures=config.train.max_failures),
            ),
        )
        with workers_as_one_line("training"):
            run_interruptibly(trainer.fit, report, config.checkpoint.grace_seconds)
        if (reason := report.fatal()) is not None:
            raise TrainingError(f"training failed: {reason}")
