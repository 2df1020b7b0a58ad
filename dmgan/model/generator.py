"""The generator: initial image generation and dynamic-memory refinements (Figure 2).

Shapes: B batch, T words, N_w word features, N_r image features; stage i has images of base_size·2^i pixels.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from math import log2
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dmgan.model import memory
from dmgan.model.conditioning import ConditioningAugmentation
from dmgan.model.layers import BatchNorm, GatedLinearUnit, ResidualBlock, Upsample, recomputation

__all__ = ["Generator", "GeneratorOutput", "InitialStage", "RefinementStage"]


@dataclass
class GeneratorOutput:
    """What one forward gives; one list entry a stage (`images`) or a refinement (the others)."""

    images: list[Tensor] = field(default_factory=list)  # (B, 3, h, w) in [-1, 1]
    attention: list[Tensor] = field(default_factory=list)  # α, (B, T, h, w)
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
            BatchNorm(32 * self.channels),
            GatedLinearUnit(),
        )
        self.upsample = nn.Sequential(
            *(Upsample(self.channels // 2**i, self.channels // 2 ** (i + 1)) for i in range(doublings))
        )

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        x = self.fc(torch.cat([condition, noise], dim=1))
        return self.upsample(x.view(-1, self.channels, 4, 4))


class RefinementStage(nn.Module):
    """R_i = F_i(R_{i-1}, W): writing, addressing, reading, response, residual blocks, ×2.

    image (B, N_r, h, w), words (B, N_w, T), mask (B, T, 1, 1) or (B, T, h, w), true where there is no word ->
    image (B, N_r, 2h, 2w), attention (B, T, h, w), writing gate (B, 1, T) or None, response gate (B, 1, h, w) or None.

    `architecture` is one of Table 3's (`baseline`, `m`, `m_wg`, `m_wg_rg`) or AttnGAN's `attention`.
    """

    def __init__(self, architecture: str, word_dim: int, image_dim: int, memory_dim: int, residual_blocks: int) -> None:
        super().__init__()
        self.write: nn.Module
        if architecture == "attention":
            self.write = memory.WordProjection(word_dim, image_dim)
        elif architecture == "baseline":
            self.write = memory.MemoryWriting(word_dim, image_dim)
        elif architecture == "m":
            self.write = memory.MemoryWriting(word_dim, memory_dim)
        else:
            self.write = memory.GatedMemoryWriting(word_dim, image_dim, memory_dim)
        keyed = architecture in ("m", "m_wg", "m_wg_rg")
        self.read = memory.KeyValueRead(memory_dim, image_dim) if keyed else memory.Attention()
        gated = architecture == "m_wg_rg"
        self.respond = memory.GatedResponse(image_dim) if gated else memory.ConcatResponse()
        self.residual = nn.Sequential(*(ResidualBlock(2 * image_dim) for _ in range(residual_blocks)))
        self.upsample = Upsample(2 * image_dim, image_dim)

    def forward(
        self, image: Tensor, words: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        slots, writing_gate = self.write(words, image)
        recalled, attention = self.read(slots, image, mask)
        response, response_gate = self.respond(recalled, image)
        return self.upsample(self.residual(response)), attention, writing_gate, response_gate


class Generator(nn.Module):
    """G: noise (B, Z), sentence (B, N_w), words (B, N_w, T), padding_mask (B, T) -> `GeneratorOutput`.

    `eps` (B, C) is the normal draw of conditioning augmentation; drawn here if not given. Built with
    `padding_mask="interleaved"`, pixels are masked as by the released code (see `dmgan.model.memory.interleaved`). With
    `checkpointing` the refinements keep their inputs alone and are computed again in the backward pass.
    """

    def __init__(
        self,
        *,
        architecture: str = "m_wg_rg",
        word_dim: int = 256,
        image_dim: int = 64,
        memory_dim: int = 128,
        condition_dim: int = 100,
        noise_dim: int = 100,
        base_size: int = 64,
        refinements: int = 2,
        residual_blocks: int = 2,
        padding_mask: str = "aligned",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.architecture = architecture
        self.interleaved_mask = padding_mask == "interleaved"
        self.noise_dim, self.condition_dim, self.base_size = noise_dim, condition_dim, base_size
        self.conditioning = ConditioningAugmentation(word_dim, condition_dim)
        self.initial = InitialStage(condition_dim, noise_dim, image_dim, base_size)
        self.refinements = nn.ModuleList(
            RefinementStage(architecture, word_dim, image_dim, memory_dim, residual_blocks) for _ in range(refinements)
        )
        self.to_image = nn.ModuleList(
            nn.Sequential(nn.Conv2d(image_dim, 3, 3, padding=1, bias=False), nn.Tanh()) for _ in range(refinements + 1)
        )

    def forward(
        self, noise: Tensor, sentence: Tensor, words: Tensor, padding_mask: Tensor, eps: Tensor | None = None
    ) -> GeneratorOutput:
        condition, mu, logvar = self.conditioning(sentence, eps)
        out = GeneratorOutput(mu=mu, logvar=logvar)
        image = self.initial(condition, noise)
        out.images.append(self.to_image[0](image))
        for refine, to_image in zip(self.refinements, list(self.to_image)[1:], strict=True):
            mask = memory.interleaved(padding_mask, image) if self.interleaved_mask else padding_mask[:, :, None, None]
            image, attention, writing_gate, response_gate = self._refined(refine, image, words, mask)
            out.images.append(to_image(image))
            out.attention.append(attention)
            if writing_gate is not None:
                out.writing_gates.append(writing_gate)
            if response_gate is not None:
                out.response_gates.append(response_gate)
        return out

    def _refined(self, refine: nn.Module, image: Tensor, words: Tensor, mask: Tensor) -> Any:
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            return refine(image, words, mask)
        contexts = lambda: (nullcontext(), recomputation())  # noqa: E731
        return checkpoint(refine, image, words, mask, use_reentrant=False, context_fn=contexts)
