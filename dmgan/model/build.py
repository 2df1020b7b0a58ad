"""Discriminators and encoders as a configuration describes them, freshly initialised."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dmgan.config import Model
from dmgan.model.discriminator import Discriminator
from dmgan.model.image_encoder import CompactTrunk, ImageEncoder, InceptionTrunk
from dmgan.model.layers import SpectralNormConv2d, spectral_norms_at_once
from dmgan.model.text_encoders import text_encoders

__all__ = ["Discriminators", "Encoders", "Logits", "build_discriminators", "build_encoders", "initialised"]

M = TypeVar("M", bound=nn.Module)

# Of one discriminator: unconditional (n,) and conditional (m,) logits; see `Discriminators.forward`.
Logits = tuple[Tensor, Tensor]


class Discriminators(nn.ModuleList):
    """D_0 … D_m as one module, so that one engine shards and steps all of them."""

    def forward(
        self, images: list[Tensor], sentences: Tensor, wrong_sentences: Tensor | None = None, parts: int = 1
    ) -> list[Logits]:
        """Judge `images` [(n, 3, s, s) per stage] against `sentences` (n, N_w).

        The conditional logits of the first w images against `wrong_sentences` (w, N_w) follow the n others. With
        `parts` > 1 the images go through in that many forwards, and the wrong pairs in one more, as released; every
        forward moves the spectral norm's u and v.
        """
        if parts > 1:
            return self._judge(images, sentences, wrong_sentences, parts)
        with spectral_norms_at_once(self):
            return self._judge(images, sentences, wrong_sentences, parts)

    def _judge(
        self, images: list[Tensor], sentences: Tensor, wrong_sentences: Tensor | None, parts: int
    ) -> list[Logits]:
        logits = []
        for module, image in zip(self, images, strict=True):
            discriminator: Any = module
            features = _joined([discriminator(part) for part in image.chunk(parts)])
            pairs = list(zip(features.chunk(parts), sentences.chunk(parts), strict=True))
            if wrong_sentences is not None:
                pairs.append((features[: len(wrong_sentences)], wrong_sentences))
            if parts == 1:
                pairs = [(_joined([f for f, _ in pairs]), _joined([s for _, s in pairs]))]
            conditional = _joined([discriminator.conditional(*pair) for pair in pairs])
            logits.append((discriminator.unconditional(features), conditional))
        return logits


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Encoders(nn.Module):
    """DAMSM's two encoders as one module: images, captions, lengths -> regions, code, words, sentence."""

    def __init__(self, text: nn.Module, image: ImageEncoder) -> None:
        super().__init__()
        self.text, self.image = text, image

    def forward(self, images: Tensor, captions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (*self.image(images), *self.text(captions, lengths))


def build_discriminators(model: Model) -> Discriminators:
    discriminators = Discriminators(
        Discriminator(size, model.discriminator_width, model.word_dim) for size in model.image_sizes
    )
    return initialised(discriminators)


def build_encoders(
    model: Model, ids: int, dropout: float = 0.5, inception_weights: dict[str, Tensor] | None = None
) -> Encoders:
    """Freshly initialised, for a tokenizer of so many ids; the image encoder's trunk with `inception_weights`."""
    trunk: CompactTrunk | InceptionTrunk
    if model.image_encoder == "compact":
        trunk = CompactTrunk(model.image_sizes[-1])
    else:
        trunk = InceptionTrunk(inception_weights, model.align_corners)
    text = text_encoders.get(model.text_encoder).build(model, ids, dropout)
    return Encoders(text, ImageEncoder(trunk, model.word_dim))


def initialised(module: M) -> M:
    """The module with orthogonal weights, as in the released code."""
    module.apply(_initialise)
    return module


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear | SpectralNormConv2d):
        nn.init.orthogonal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
