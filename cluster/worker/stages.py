"""The training stages as a worker runs them: DAMSM pre-training and the GAN."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial

import safetensors.torch
import torch
import torch.distributed as dist

from cluster.worker.control import Reporter
from cluster.worker.permanent import may_pass, stays
from cluster.worker.planned import planned_steps
from datasets import storage
from datasets.manifest import ManifestError, load_manifest
from datasets.shards import DatasetError
from datasets.storage.lease import LeaseError, LeaseToken
from dmgan.architectures import damsm_training, gan_training
from dmgan.config import Config, with_values
from dmgan.model import collective
from dmgan.runs.run import Run, generator_json, read_weights
from dmgan.runs.samples import samples_of
from dmgan.training.engine import EngineState, MakeEngine

__all__ = ["train_on_worker"]


def train_on_worker(
    config: Config,
    run: Run,
    stages: tuple[str, ...],
    report: Reporter,
    environment: dict[str, str],
    lease: LeaseToken | None,
) -> None:
    from ray.train.torch import get_device

    from cluster.worker import engines
    from cluster.worker.health import NonFiniteError

    if report.fatal() is not None:
        return  # Ray has started the workers again after what cannot be mended; `fit` says it
    os.environ.update(environment)
    if not config.train.compile:
        # Before DeepSpeed is imported: its Muon optimizer, which is not used, would load all of torch's compiler.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    device = get_device()
    engines.initialise(device)
    if collective.rank() == 0:
        report.started()
    # Where fewer would do, it may be fewer.
    config = with_values(config, {"train.workers": dist.get_world_size()})
    try:
        for stage in stages:
            if stage == "pretrain" and run.has("encoders.safetensors"):
                continue  # this is a restart of Ray's after the stage
            torch.manual_seed(config.train.seed)  # alike on every worker: all start from the same weights
            done = {"pretrain": _pretrain_worker, "train": _train_worker}[stage](config, run, device, report, lease)
            dist.barrier()  # what rank 0 wrote at the end of a stage is there for all
            if not done:
                return
    except (DatasetError, ManifestError, storage.MissingError, NonFiniteError, LeaseError) as error:
        report.end(str(error))
        raise
    except Exception as error:
        if report.fatal() is None:  # else this worker only lost the one that said it
            _tell(error, report)
        raise


def _tell(error: Exception, report: Reporter) -> None:
    """Whether training ends with this error, or Ray Train starts the workers again."""
    said = (str(error).splitlines() or [""])[0] or type(error).__name__
    if stays(error):
        report.end(said)
    elif not may_pass(error) and report.comes_again(f"{type(error).__name__}: {said}"):
        report.end(f"{said}, and again at the same step after a restart")
    else:
        report.warn(f"a worker failed: {said}; Ray Train starts all again from the last checkpoint")


def _pretrain_worker(
    config: Config, run: Run, device: torch.device, report: Reporter, lease: LeaseToken | None
) -> bool:
    from cluster.worker.loop import Stage, run_stage

    manifest, _ = load_manifest(config.data.url)
    tokenizer = run.read_tokenizer(config)  # which the driver has put there
    wanted = config.model.image_encoder == "inception-v3"
    weights = read_weights(config.pretrain.inception_weights) if wanted else None
    steps = planned_steps(config, "pretrain", manifest, run)
    training = damsm_training(config, len(tokenizer), _make_engine(config), device, steps, weights)

    def exports(
        states: Mapping[str, EngineState], extra: Mapping[str, dict[str, torch.Tensor]], step: int
    ) -> dict[str, Callable[[], bytes]]:
        if step < steps:
            return {}
        return {"encoders.safetensors": partial(safetensors.torch.save, states["encoders"].weights)}

    stage = Stage(
        name="pretrain",
        batch_size=config.pretrain.batch_size,
        steps=steps,
        manifest=manifest,
        step=training.step,
        engines={"encoders": training.encoders},
        exports=exports,
        tokenizer=tokenizer,
    )
    return run_stage(stage, config, run, device, report, lease)


def _train_worker(config: Config, run: Run, device: torch.device, report: Reporter, lease: LeaseToken | None) -> bool:
    from cluster.worker.loop import Stage, run_stage

    manifest, _ = load_manifest(config.data.url)
    steps = planned_steps(config, "train", manifest, run)
    encoders = run.load_encoders(config).to(device)
    training = gan_training(config, encoders, _make_engine(config), device)
    average = training.average
    samples = samples_of(config, run, encoders) if collective.rank() == 0 else None

    def picture(done: int) -> bytes | None:
        if samples is None or (done % config.train.sample_every and done != steps):
            return None
        png = samples.png(average.module)
        storage.write_bytes(run.path("samples", f"step_{done:08d}.png"), png)
        return png

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
        engines={"generator": training.generator, "discriminators": training.discriminators},
        exports=exports,
        tokenizer=run.read_tokenizer(config),
        extra={"average": average.module},
        samples=picture,
    )
    return run_stage(stage, config, run, device, report, lease)


def _make_engine(config: Config) -> MakeEngine:
    from cluster.worker.engines import DeepSpeedEngine, spans_nodes

    wanted = config.deepspeed.overlap
    overlap = wanted == "always" or (wanted == "auto" and spans_nodes())
    return partial(DeepSpeedEngine, zero_stage=config.deepspeed.zero_stage, overlap=overlap)
