"""From a configuration and a way to make engines to a training: the one place that puts its parts together."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from dmgan.architectures.architecture import architectures
from dmgan.config import Config, Model
from dmgan.model.build import Encoders, build_encoders
from dmgan.model.folding import keep_folded
from dmgan.model.generator import Generator
from dmgan.model.layers import batch_statistics
from dmgan.training.average import Average
from dmgan.training.compiled import compile_networks, fast_settings
from dmgan.training.damsm import DamsmTraining
from dmgan.training.engine import Engine, MakeEngine
from dmgan.training.gan import GanTraining
from dmgan.training.outcome import precision

__all__ = ["build_gan_discriminators", "build_generator", "damsm_training", "gan_training"]


def build_generator(model: Model, checkpointing: bool = False) -> Generator:
    """The architecture's generator, a `Generator` or like one, freshly initialised. Raises UnknownNameError."""
    return cast(Generator, architectures.get(model.architecture).generator(model, checkpointing))


def build_gan_discriminators(model: Model) -> nn.Module:
    """The architecture's discriminators as one module, freshly initialised. Raises UnknownNameError."""
    return architectures.get(model.architecture).discriminators(model)


def gan_training(config: Config, encoders: Encoders, make_engine: MakeEngine, device: torch.device) -> GanTraining:
    """The GAN's training from the start, with frozen `encoders` that are on the device."""
    keep_folded(encoders, _computed_in(config))
    fast_settings(config, device)
    train, optimizer = config.train, config.optimizer
    betas = (optimizer.beta1, optimizer.beta2)
    fresh = build_generator(config.model, train.activation_checkpointing).to(device)
    average = Average(fresh, optimizer.ema, optimizer.ema_warmup)

    def engine(module: nn.Module, lr: float) -> Engine:
        prepared = batch_statistics(module, train.batch_statistics)
        return make_engine(prepared, lr=lr, betas=betas, batch_size=train.batch_size, accumulate=train.accumulate)

    generator = engine(fresh, optimizer.generator_lr)
    discriminators = engine(build_gan_discriminators(config.model).to(device), optimizer.discriminator_lr)
    compile_networks(config, device, generator.module, discriminators.module, encoders.image)
    return architectures.get(config.model.architecture).training(
        generator,
        discriminators,
        encoders,
        average,
        config.objective,
        train.seed,
        precision(config, device),
        train.accumulate,
    )


def _computed_in(config: Config) -> torch.dtype | None:
    return torch.bfloat16 if config.train.precision == "bfloat16" else None


def damsm_training(
    config: Config,
    ids: int,
    make_engine: MakeEngine,
    device: torch.device,
    steps: int,
    inception_weights: dict[str, Tensor] | None = None,
) -> DamsmTraining:
    """The encoders' pre-training of so many steps from the start, for a tokenizer of so many ids."""
    fast_settings(config, device)
    options = config.pretrain
    encoders = build_encoders(config.model, ids, options.dropout, inception_weights).to(device).train()
    keep_folded(encoders, _computed_in(config))
    engine = make_engine(
        batch_statistics(encoders, config.train.batch_statistics),
        lr=options.lr,
        betas=(config.optimizer.beta1, config.optimizer.beta2),
        batch_size=options.batch_size,
    )
    compile_networks(config, device, encoders.image)
    return DamsmTraining(engine, config.objective, options.lr, steps, precision(config, device))
