"""The generator: initial image generation and dynamic-memory refinements (Figure 2).

Shapes: B batch, T words, N_w word features, N_r image features; stage i has images of base_size·2^i pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import log2
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dmgan.config import Model
from dmgan.model import memory
from dmgan.model.conditioning import ConditioningAugmentation
from dmgan.model.convolutions import in_fast_format
from dmgan.model.layers import BatchCounts, GatedBatchNorm, ResidualBlock, Upsample, recomputation

__all__ = ["Generator", "GeneratorOutput", "InitialStage", "Refined", "RefinementStage"]


@dataclass
class GeneratorOutput:
    """What one forward gives; one list entry a stage (`images`) or a refinement (the others)."""

    images: list[Tensor] = field(default_factory=list)  # (B, 3, h, w) in [-1, 1]
    attention: list[Tensor] = field(default_factory=list)  # α, (B, T, h, w); empty where no words are read
    writing_gates: list[Tensor] = field(default_factory=list)  # g_w, (B, 1, T); empty without a writing gate
    response_gates: list[Tensor] = field(default_factory=list)  # g_r, (B, 1, h, w); empty without a response gate
    mu: Tensor = field(default_factory=lambda: torch.empty(0))  # (B, C)
    logvar: Tensor = field(default_factory=lambda: torch.empty(0))  # (B, C)


class InitialStage(nn.Module):
    """R_0 = F_0(z, c): condition (B, C) and noise (B, Z) -> image features (B, N_r, base_size, base_size)."""

    def __init__(self, condition_dim: int, noise_dim: int, image_dim: int, base_size: int) -> None:
        super().__init__()
        doublings = int(log2(base_size // 4))
        self.channels = image_dim * 2**doublings
        self.fc = nn.Sequential(
            nn.Linear(condition_dim + noise_dim, 32 * self.channels, bias=False),
            GatedBatchNorm(32 * self.channels),
        )
        self.upsample = nn.Sequential(
            *(Upsample(self.channels // 2**i, self.channels // 2 ** (i + 1)) for i in range(doublings))
        )

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        x = self.fc(torch.cat([condition, noise], dim=1))
        return self.upsample(in_fast_format(x.view(-1, self.channels, 4, 4)))


class Refined(NamedTuple):
    """What a refinement gives: an image feature twice as large, and what it looked at, where it looks at words."""

    image: Tensor  # (B, N_r, 2h, 2w)
    attention: Tensor | None = None  # (B, T, h, w)
    writing_gate: Tensor | None = None  # (B, 1, T)
    response_gate: Tensor | None = None  # (B, 1, h, w)


class RefinementStage(nn.Module):
    """R_i = F_i(R_{i-1}, W): writing, addressing, reading, response, residual blocks, ×2.

    image (B, N_r, h, w), words (B, N_w, T), mask (B, T, 1, 1) or (B, T, h, w), true where there is no word, condition
    (B, C), not used here -> `Refined`. `write`, `read` and `respond` are modules of `dmgan.model.memory`.
    """

    def __init__(
        self, write: nn.Module, read: nn.Module, respond: nn.Module, *, image_dim: int, residual_blocks: int
    ) -> None:
        super().__init__()
        self.write, self.read, self.respond = write, read, respond
        self.residual = nn.Sequential(*(ResidualBlock(2 * image_dim) for _ in range(residual_blocks)))
        self.upsample = Upsample(2 * image_dim, image_dim)

    def forward(self, image: Tensor, words: Tensor, mask: Tensor, condition: Tensor) -> Refined:
        slots, writing_gate = self.write(words, image)
        recalled, attention = self.read(slots, image, mask)
        response, response_gate = self.respond(recalled, image)
        return Refined(self.upsample(self.residual(response)), attention, writing_gate, response_gate)


class Generator(nn.Module):
    """G: noise (B, Z), sentence (B, N_w), words (B, N_w, T), padding_mask (B, T) -> `GeneratorOutput`.

    `refinement()` makes a module as `RefinementStage`; `conditioning` is one as `ConditioningAugmentation`.
    `eps` (B, C) is the normal draw of conditioning augmentation; drawn here if not given. With `model.padding_mask`
    interleaved pixels are masked as by the released code (see `dmgan.model.memory.interleaved`). With `checkpointing`
    the refinements keep their inputs alone and are computed again in the backward pass.
    """

    def __init__(
        self,
        model: Model,
        refinement: Callable[[], nn.Module],
        *,
        conditioning: nn.Module | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.options, self.checkpointing = model, checkpointing
        self.interleaved_mask = model.padding_mask == "interleaved"
        self.noise_dim, self.condition_dim = model.noise_dim, model.condition_dim
        self.conditioning = conditioning or ConditioningAugmentation(model.word_dim, model.condition_dim)
        self.initial = InitialStage(model.condition_dim, model.noise_dim, model.image_dim, model.base_size)
        self.refinements = nn.ModuleList(refinement() for _ in range(model.refinements))
        self.to_image = nn.ModuleList(
            nn.Sequential(nn.Conv2d(model.image_dim, 3, 3, padding=1, bias=False), nn.Tanh())
            for _ in range(model.refinements + 1)
        )
        self._counts = BatchCounts(self)

    def forward(
        self, noise: Tensor, sentence: Tensor, words: Tensor, padding_mask: Tensor, eps: Tensor | None = None
    ) -> GeneratorOutput:
        if self.training:
            self._counts.add()
        condition, mu, logvar = self.conditioning(sentence, eps)
        out = GeneratorOutput(mu=mu, logvar=logvar)
        image = self.initial(condition, noise)
        out.images.append(self.to_image[0](image))
        for refine, to_image in zip(self.refinements, list(self.to_image)[1:], strict=True):
            mask = memory.interleaved(padding_mask, image) if self.interleaved_mask else padding_mask[:, :, None, None]
            refined = self._refined(refine, image, words, mask, condition)
            image = refined.image
            out.images.append(to_image(image))
            for found, values in (
                (refined.attention, out.attention),
                (refined.writing_gate, out.writing_gates),
                (refined.response_gate, out.response_gates),
            ):
                if found is not None:
                    values.append(found)
        return out

    def _refined(self, refine: nn.Module, *inputs: Tensor) -> Refined:
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            return refine(*inputs)
        contexts = lambda: (nullcontext(), recomputation())  # noqa: E731
        return checkpoint(refine, *inputs, use_reentrant=False, context_fn=contexts)
