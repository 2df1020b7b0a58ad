"""The training stages as Ray Train jobs: DAMSM pre-training and the GAN."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from cluster.progress import Reporter, shown_progress
from datasets import storage
from datasets.manifest import Manifest, ManifestError, load_manifest
from datasets.plan import batches_per_worker
from datasets.shards import DatasetError
from dmgan.config import Config, ConfigError
from dmgan.run import Run

__all__ = ["TrainingError", "fit", "planned_steps", "storage_environment"]


class TrainingError(Exception):
    """Training cannot go on, however often its workers are started again; one line."""


# Ray Train notices a report at its health checks; at the default of 2 s every checkpoint would cost that.
_ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"}
_STORAGE_KEYS = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_CA_BUNDLE",
)


def fit(config: Config, run: Run, stages: Sequence[str], on_stage: Callable[[str], None]) -> None:
    """Train what is left of `stages` (of "pretrain", "train"), one after the other, in one Ray Train job.

    `pretrain` gives RUN/encoders.safetensors, `train` RUN/generator.safetensors; both go on from the run's newest
    checkpoint. `on_stage` is called with a stage's name when its first step is near. Raises TrainingError where the
    data cannot be read, Ray's TrainingFailedError where workers failed too often.
    """
    os.environ.update(_ENVIRONMENT)
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    gpu = _cluster_has_gpu()
    with shown_progress(on_stage, "step") as report:
        trainer = TorchTrainer(
            partial(_on_worker, config, run, tuple(stages), report, storage_environment()),
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=config.train.workers, use_gpu=gpu),
            run_config=RunConfig(
                name="checkpoints",
                storage_path=storage.absolute(run.url),
                checkpoint_config=CheckpointConfig(num_to_keep=config.checkpoint.keep),
                failure_config=FailureConfig(max_failures=3),
            ),
        )
        _fit_interruptibly(trainer)
        if (reason := report.fatal()) is not None:
            raise TrainingError(reason)


def _fit_interruptibly(trainer: Any) -> None:
    """`trainer.fit()`, where Ctrl-C is a KeyboardInterrupt: Ray's own handler ends the process with exit code 0."""
    before = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def planned_steps(config: Config, stage: str, manifest: Manifest) -> tuple[int, int]:
    """The steps of a stage and of one of its epochs."""
    options = config.pretrain if stage == "pretrain" else config.train
    samples = manifest.split("train").samples
    per_epoch = batches_per_worker(samples, options.batch_size, config.train.workers)
    if per_epoch == 0:
        raise ConfigError(
            f"{stage}.batch_size={options.batch_size}: {config.train.workers} workers need "
            f"{options.batch_size * config.train.workers} training images a step, {config.data.url} has {samples}"
        )
    steps = options.epochs * per_epoch
    return min(steps, options.max_steps or steps), per_epoch


def _cluster_has_gpu() -> bool:
    import ray

    return bool(ray.cluster_resources().get("GPU", 0))


def storage_environment() -> dict[str, str]:
    """What a worker needs of this process's environment to reach storage. Holds credentials: never to be logged."""
    return {key: os.environ[key] for key in _STORAGE_KEYS if key in os.environ}


def _on_worker(
    config: Config, run: Run, stages: tuple[str, ...], report: Reporter, environment: dict[str, str]
) -> None:
    import torch.distributed as dist
    from ray.train.torch import get_device

    from cluster import engines

    if report.fatal() is not None:
        return  # Ray has started the workers again after what cannot be mended; `fit` says it
    os.environ.update(environment)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    device = get_device()
    engines.initialise(device)
    try:
        for stage in stages:
            if stage == "pretrain" and run.has("encoders.safetensors"):
                continue  # this is a restart of Ray's after the stage
            torch.manual_seed(config.train.seed)  # alike on every worker: all start from the same weights
            {"pretrain": _pretrain_worker, "train": _train_worker}[stage](config, run, device, report)
            dist.barrier()  # what rank 0 wrote at the end of a stage is there for all
    except (DatasetError, ManifestError) as error:
        report.end(str(error))
        raise


def _pretrain_worker(config: Config, run: Run, device: torch.device, report: Reporter) -> None:
    from cluster.loop import Stage, run_stage
    from dmgan import collective
    from dmgan.networks import build_encoders
    from dmgan.pretraining import DamsmTraining

    options = config.pretrain
    manifest, vocabulary = load_manifest(config.data.url)
    encoders = build_encoders(config.model, len(vocabulary), options.dropout, read_weights(options.inception_weights))
    encoders.to(device).train()
    steps, per_epoch = planned_steps(config, "pretrain", manifest)
    engine = _engine(encoders, options.lr, config, options.batch_size)
    training = DamsmTraining(engine, config.objective, options.lr, steps)
    stage = Stage("pretrain", options.batch_size, steps, per_epoch, training.step, {"encoders": engine})
    run_stage(stage, config, run, device, report)
    with engine.full_weights():
        if collective.rank() == 0:
            run.save_encoders(encoders, vocabulary)


def _train_worker(config: Config, run: Run, device: torch.device, report: Reporter) -> None:
    from cluster.loop import Stage, run_stage
    from dmgan import collective
    from dmgan.average import Average
    from dmgan.networks import build_discriminators, build_generator
    from dmgan.samples import FixedSamples
    from dmgan.training import GanTraining

    manifest, _ = load_manifest(config.data.url)
    options, batch_size = config.optimizer, config.train.batch_size
    steps, per_epoch = planned_steps(config, "train", manifest)
    encoders = run.load_encoders(config).to(device)
    fresh = build_generator(config.model).to(device)
    average = Average(fresh, options.ema, options.ema_warmup)
    generator = _engine(fresh, options.generator_lr, config, batch_size)
    discriminators = _engine(
        build_discriminators(config.model).to(device), options.discriminator_lr, config, batch_size
    )
    training = GanTraining(generator, discriminators, encoders, average, config.objective, config.train.seed)
    samples = samples_of(config, run, encoders) if collective.rank() == 0 else None

    def on_step(done: int) -> None:
        if isinstance(samples, FixedSamples) and (done % config.train.sample_every == 0 or done == steps):
            storage.write_bytes(run.path("samples", f"step_{done:08d}.png"), samples.png(average.module))

    def on_checkpoint(done: int) -> None:
        with discriminators.full_weights():
            if collective.rank() == 0:
                run.save_discriminators(discriminators.module)
                run.save_generator(average.module, config, done, steps)

    stage = Stage(
        name="train",
        batch_size=batch_size,
        steps=steps,
        steps_per_epoch=per_epoch,
        step=training.step,
        engines={"generator": generator, "discriminators": discriminators},
        extra={"average": average.module},
        on_step=on_step,
        on_checkpoint=on_checkpoint,
    )
    run_stage(stage, config, run, device, report)


def samples_of(config: Config, run: Run, encoders: Any) -> Any:
    """The run's fixed captions and noise: the first captions of as many test classes."""
    from datasets.manifest import load_captions
    from dmgan.samples import FixedSamples

    chosen: dict[int, str] = {}
    for entry in load_captions(config.data.url, "test"):
        chosen.setdefault(entry.class_id, entry.captions[0])
    step = max(1, len(chosen) // FixedSamples.ROWS)
    captions = list(chosen.values())[::step][: FixedSamples.ROWS]
    return FixedSamples(encoders, run.read_vocabulary(), captions, config)


def _engine(module: torch.nn.Module, lr: float, config: Config, batch_size: int) -> Any:
    from cluster.engines import DeepSpeedEngine
    from dmgan.layers import batch_statistics

    return DeepSpeedEngine(
        batch_statistics(module, config.train.batch_statistics),
        lr=lr,
        betas=(config.optimizer.beta1, config.optimizer.beta2),
        zero_stage=config.deepspeed.zero_stage,
        batch_size=batch_size,
    )


def read_weights(url: str | None) -> dict[str, torch.Tensor] | None:
    """A torch state dict from a folder or bucket, without executing anything in it."""
    if url is None:
        return None
    import io

    return dict(torch.load(io.BytesIO(storage.read_bytes(url)), map_location="cpu", weights_only=True))
