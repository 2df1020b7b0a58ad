"""The training stages as Ray Train jobs: DAMSM pre-training and the GAN."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import safetensors.torch
import torch

from cluster.checkpoints import Checkpoints
from cluster.position import Position
from cluster.progress import Reporter, shown_progress
from cluster.resources import uses_gpus
from datasets import storage
from datasets.manifest import Manifest, ManifestError, load_manifest
from datasets.plan import batches_per_worker
from datasets.shards import DatasetError
from dmgan.config import Config, ConfigError
from dmgan.engine import EngineState
from dmgan.run import Run, generator_json
from dmgan.training import precision

__all__ = ["StoppedError", "TrainingError", "fit", "planned_steps", "storage_environment"]


class TrainingError(Exception):
    """Training cannot go on, however often its workers are started again; one line."""


class StoppedError(Exception):
    """A signal ended training."""

    def __init__(self, number: int, with_checkpoint: bool) -> None:
        self.signal = signal.Signals(number)
        what = "with a checkpoint" if with_checkpoint else "before a checkpoint was written"
        super().__init__(f"stopped by {self.signal.name}, {what}; the same command goes on from the last checkpoint")


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
    checkpoint, whatever number of workers and ZeRO stage wrote it. `on_stage` is called with a stage's name when its
    first step is near. Raises TrainingError for what starting the workers again would not mend (unreadable data,
    non-finite losses), StoppedError on SIGINT, SIGTERM and SIGHUP, Ray's TrainingFailedError where workers failed too
    often.
    """
    os.environ.update(_ENVIRONMENT)
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    gpu = uses_gpus(config)
    workers, fewest = config.train.workers, config.train.fewest_workers
    with shown_progress(on_stage, "step") as report:
        trainer = TorchTrainer(
            partial(_on_worker, config, run, tuple(stages), report, storage_environment()),
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=workers if fewest == workers else (fewest, workers), use_gpu=gpu),
            run_config=RunConfig(
                name=f"dmgan-{uuid.uuid4().hex[:12]}",  # Ray's own state of a job; the run's is in its checkpoints
                failure_config=FailureConfig(max_failures=config.train.max_failures),
            ),
        )
        _fit_interruptibly(trainer, report, config.checkpoint.grace_seconds)
        if (reason := report.fatal()) is not None:
            raise TrainingError(reason)


def _fit_interruptibly(trainer: Any, report: Reporter, grace_seconds: float) -> None:
    """`trainer.fit()`, which a signal to stop ends with a checkpoint, if it is written within the grace.

    SIGHUP says that who started this process is gone. A second Ctrl-C ends it at once; any other second signal says
    nothing new.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are another's, such as Tune's
        trainer.fit()
        return
    failures: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            failures.append(error)

    signals: list[int] = []

    def stop(number: int, frame: object) -> None:
        if number == signal.SIGINT or not signals:
            signals.append(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # nohup
        del before[signal.SIGHUP]
    thread = threading.Thread(target=fit, daemon=True)
    try:
        for number in before:
            signal.signal(number, stop)
        thread.start()
        deadline = float("inf")
        while thread.is_alive():
            thread.join(0.1)
            if signals and deadline == float("inf"):
                deadline = time.monotonic() + grace_seconds
                report.stop()
            if time.monotonic() > deadline or len(signals) > 1:  # asked twice: at once
                raise StoppedError(signals[0], with_checkpoint=False)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if signals:  # this process is ending; that who started it has gone meanwhile must not cut that short
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if failures:
        raise failures[0]
    if signals:
        raise StoppedError(signals[0], with_checkpoint=True)


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
            saved = Position.from_dict(state["position"])
            position = saved.with_workers(config.train.workers, batch_size)
            break
    return position.steps(options.epochs, options.max_steps)


def storage_environment() -> dict[str, str]:
    """What a worker needs of this process's environment to reach storage. Holds credentials: never to be logged."""
    return {key: os.environ[key] for key in _STORAGE_KEYS if key in os.environ}


def _on_worker(
    config: Config, run: Run, stages: tuple[str, ...], report: Reporter, environment: dict[str, str]
) -> None:
    import torch.distributed as dist
    from ray.train.torch import get_device

    from cluster import engines
    from cluster.health import NonFiniteError

    if report.fatal() is not None:
        return  # Ray has started the workers again after what cannot be mended; `fit` says it
    os.environ.update(environment)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    device = get_device()
    engines.initialise(device)
    config.train.workers = dist.get_world_size()  # where fewer would do, it may be fewer
    try:
        for stage in stages:
            if stage == "pretrain" and run.has("encoders.safetensors"):
                continue  # this is a restart of Ray's after the stage
            torch.manual_seed(config.train.seed)  # alike on every worker: all start from the same weights
            done = {"pretrain": _pretrain_worker, "train": _train_worker}[stage](config, run, device, report)
            dist.barrier()  # what rank 0 wrote at the end of a stage is there for all
            if not done:
                return
    except (DatasetError, ManifestError, storage.MissingError, NonFiniteError) as error:
        report.end(str(error))
        raise
    except Exception as error:
        if report.fatal() is None:  # else this worker only lost the one that said it
            said = (str(error).splitlines() or [""])[0] or type(error).__name__
            report.warn(f"a worker failed: {said}; Ray Train starts all again from the last checkpoint")
        raise


def _pretrain_worker(config: Config, run: Run, device: torch.device, report: Reporter) -> bool:
    from cluster.loop import Stage, run_stage
    from dmgan.networks import build_encoders
    from dmgan.pretraining import DamsmTraining

    options = config.pretrain
    manifest, vocabulary = load_manifest(config.data.url)
    weights = read_weights(options.inception_weights) if config.model.image_encoder == "inception-v3" else None
    encoders = build_encoders(config.model, len(vocabulary), options.dropout, weights)
    encoders.to(device).train()
    steps = planned_steps(config, "pretrain", manifest, run)
    engine = _engine(encoders, options.lr, config, options.batch_size)
    training = DamsmTraining(engine, config.objective, options.lr, steps, precision(config, device))

    def exports(states: Mapping[str, EngineState], extra: Any, step: int) -> dict[str, Callable[[], bytes]]:
        """The encoders last: where they are, the vocabulary is."""
        if step < steps:
            return {}
        words, weights = vocabulary.to_json(), states["encoders"].weights
        return {"vocabulary.json": words.encode, "encoders.safetensors": partial(safetensors.torch.save, weights)}

    stage = Stage(
        name="pretrain",
        batch_size=options.batch_size,
        steps=steps,
        manifest=manifest,
        step=training.step,
        engines={"encoders": engine},
        exports=exports,
        vocabulary=vocabulary.to_json(),
    )
    return run_stage(stage, config, run, device, report)


def _train_worker(config: Config, run: Run, device: torch.device, report: Reporter) -> bool:
    from cluster.loop import Stage, run_stage
    from dmgan import collective
    from dmgan.average import Average
    from dmgan.networks import build_discriminators, build_generator
    from dmgan.samples import FixedSamples
    from dmgan.training import GanTraining

    manifest, vocabulary = load_manifest(config.data.url)
    options, batch_size, accumulate = config.optimizer, config.train.batch_size, config.train.accumulate
    steps = planned_steps(config, "train", manifest, run)
    encoders = run.load_encoders(config).to(device)
    fresh = build_generator(config.model, config.train.activation_checkpointing).to(device)
    average = Average(fresh, options.ema, options.ema_warmup)
    generator = _engine(fresh, options.generator_lr, config, batch_size, accumulate)
    critics = build_discriminators(config.model).to(device)
    discriminators = _engine(critics, options.discriminator_lr, config, batch_size, accumulate)
    training = GanTraining(
        generator,
        discriminators,
        encoders,
        average,
        config.objective,
        config.train.seed,
        precision(config, device),
        accumulate,
    )
    samples = samples_of(config, run, encoders) if collective.rank() == 0 else None

    def on_step(done: int) -> None:
        if isinstance(samples, FixedSamples) and (done % config.train.sample_every == 0 or done == steps):
            storage.write_bytes(run.path("samples", f"step_{done:08d}.png"), samples.png(average.module))

    def exports(
        states: Mapping[str, EngineState], extra: Mapping[str, dict[str, torch.Tensor]], step: int
    ) -> dict[str, Callable[[], bytes]]:
        return {
            "discriminators.safetensors": partial(safetensors.torch.save, states["discriminators"].weights),
            "generator.safetensors": partial(safetensors.torch.save, extra["average"]),
            "generator.json": partial(generator_json, config, step, steps),
        }

    stage = Stage(
        name="train",
        batch_size=config.train.images_a_step,
        steps=steps,
        manifest=manifest,
        step=training.step,
        engines={"generator": generator, "discriminators": discriminators},
        exports=exports,
        vocabulary=vocabulary.to_json(),
        extra={"average": average.module},
        on_step=on_step,
    )
    return run_stage(stage, config, run, device, report)


def samples_of(config: Config, run: Run, encoders: Any) -> Any:
    """The run's fixed captions and noise."""
    from dmgan.samples import FixedSamples

    return FixedSamples(encoders, run.read_vocabulary(), sample_captions(config.data.url), config)


def sample_captions(url: str) -> list[str]:
    """The first captions of a few test classes."""
    from datasets.manifest import load_captions
    from dmgan.samples import FixedSamples

    chosen: dict[int, str] = {}
    for entry in load_captions(url, "test"):
        chosen.setdefault(entry.class_id, entry.captions[0])
    step = max(1, len(chosen) // FixedSamples.ROWS)
    return list(chosen.values())[::step][: FixedSamples.ROWS]


def _engine(module: torch.nn.Module, lr: float, config: Config, batch_size: int, accumulate: int = 1) -> Any:
    from cluster.engines import DeepSpeedEngine
    from dmgan.layers import batch_statistics

    return DeepSpeedEngine(
        batch_statistics(module, config.train.batch_statistics),
        lr=lr,
        betas=(config.optimizer.beta1, config.optimizer.beta2),
        zero_stage=config.deepspeed.zero_stage,
        batch_size=batch_size,
        accumulate=accumulate,
    )


def read_weights(url: str | None) -> dict[str, torch.Tensor] | None:
    """A torch state dict from a folder or bucket, without executing anything in it."""
    if url is None:
        return None
    import io

    return dict(torch.load(io.BytesIO(storage.read_bytes(url)), map_location="cpu", weights_only=True))
