"""What an architecture is: how its networks are built and what a training step of theirs does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from datasets.registry import Registry
from dmgan.config import Config, Model
from dmgan.model.build import build_discriminators
from dmgan.training.gan import GanTraining

__all__ = ["Architecture", "architectures"]


@dataclass(frozen=True)
class Architecture:
    """A generator architecture and its training step.

    `generator(model, checkpointing)` gives a freshly initialised module with (noise (B, Z), sentence (B, N_w), words
    (B, N_w, T), padding_mask (B, T), eps (B, C)) -> `GeneratorOutput`, and the attributes `noise_dim` (Z) and
    `condition_dim` (C). `discriminators(model)` gives all of them as one module, which the training step calls.
    `check(config)` raises ConfigError for settings that do not go with it.
    """

    generator: Callable[[Model, bool], nn.Module]
    discriminators: Callable[[Model], nn.Module] = build_discriminators
    training: type[GanTraining] = GanTraining
    check: Callable[[Config], None] = lambda config: None


architectures: Registry[Architecture] = Registry("architecture", "model.architecture")
