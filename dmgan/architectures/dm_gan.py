"""`dm-gan`: refinements with a dynamic memory (Figure 2), in the four variants of Table 3."""

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
    """A refinement of the memory that `model.memory` names: baseline, m, m_wg or m_wg_rg."""
    write: nn.Module
    if model.memory == "baseline":
        write = memory.MemoryWriting(model.word_dim, model.image_dim)
    elif model.memory == "m":
        write = memory.MemoryWriting(model.word_dim, model.memory_dim)
    else:
        write = memory.GatedMemoryWriting(model.word_dim, model.image_dim, model.memory_dim)
    keyed = model.memory != "baseline"
    return RefinementStage(
        write,
        memory.KeyValueRead(model.memory_dim, model.image_dim) if keyed else memory.Attention(),
        memory.GatedResponse(model.image_dim) if model.memory == "m_wg_rg" else memory.ConcatResponse(),
        image_dim=model.image_dim,
        residual_blocks=model.residual_blocks,
    )


def generator(model: Model, checkpointing: bool = False) -> nn.Module:
    return initialised(Generator(model, partial(refinement, model), checkpointing=checkpointing))


architectures.register("dm-gan", Architecture(generator))
