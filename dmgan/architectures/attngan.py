"""`attngan`: refinements that attend to projected words, without a memory (Xu et al., CVPR 2018 [28])."""

from __future__ import annotations

from functools import partial

from torch import nn

from dmgan.architectures.architecture import Architecture, architectures
from dmgan.config import Model
from dmgan.model import memory
from dmgan.model.build import initialised
from dmgan.model.generator import Generator, RefinementStage

__all__: list[str] = []


def refinement(model: Model) -> RefinementStage:
    return RefinementStage(
        memory.WordProjection(model.word_dim, model.image_dim),
        memory.Attention(),
        memory.ConcatResponse(),
        image_dim=model.image_dim,
        residual_blocks=model.residual_blocks,
    )


def generator(model: Model, checkpointing: bool = False) -> nn.Module:
    return initialised(Generator(model, partial(refinement, model), checkpointing=checkpointing))


architectures.register("attngan", Architecture(generator))
