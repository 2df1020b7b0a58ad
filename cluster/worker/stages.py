"""The training stages as a worker runs them: DAMSM pre-training and the GAN."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import safetensors.torch
import torch
import torch.distributed as dist

from cluster.worker.control import Reporter
from cluster.worker.planned import planned_steps
from datasets import storage
from datasets.manifest import ManifestError, load_manifest
from datasets.shards import DatasetError
from dmgan.config import Config, with_values
from dmgan.runs.run import Run, generator_json, read_weights
from dmgan.runs.samples import samples_of
from dmgan.training.engine import EngineState
from dmgan.training.gan import precision

__all__ = ["train_on_worker"]


def train_on_worker(
    config: Config, run: Run, stages: tuple[str, ...], report: Reporter, environment: dict[str, str]
) -> None:
    from ray.train.torch import get_device

    from cluster.worker import engines
    from cluster.worker.health import NonFiniteError

    if report.fatal() is not None:
        return  # Ray has started the workers again after what cannot be mended; `fit` says it
    os.environ.update(environment)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    device = get_device()
    engines.initialise(device)
    # Where fewer would do, it may be fewer.
    config = with_values(config, {"train.workers": dist.get_world_size()})
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
    from cluster.worker.loop import Stage, run_stage
    from dmgan.model.build import build_encoders
    from dmgan.training.damsm import DamsmTraining

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
    from cluster.worker.loop import Stage, run_stage
    from dmgan.model import collective
    from dmgan.model.build import build_discriminators, build_generator
    from dmgan.runs.samples import FixedSamples
    from dmgan.training.average import Average
    from dmgan.training.gan import GanTraining

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


def _engine(module: torch.nn.Module, lr: float, config: Config, batch_size: int, accumulate: int = 1) -> Any:
    from cluster.worker.engines import DeepSpeedEngine
    from dmgan.model.layers import batch_statistics

    return DeepSpeedEngine(
        batch_statistics(module, config.train.batch_statistics),
        lr=lr,
        betas=(config.optimizer.beta1, config.optimizer.beta2),
        zero_stage=config.deepspeed.zero_stage,
        batch_size=batch_size,
        accumulate=accumulate,
    )
