"""What both trainings share: encoded captions, a step's outcome, DAMSM's losses, image sizes, number formats."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from dmgan.config import Config, Objective
from dmgan.model import collective
from dmgan.pixels import to_unit
from dmgan.training.engine import Engine, finite_numbers
from dmgan.training.matching import matching_loss, sentence_scores, word_scores

__all__ = ["Outcome", "Text", "finite", "matching_losses", "precision", "pyramid"]


@dataclass
class Outcome:
    """What one step says of itself, on the device and detached.

    `losses` as they were minimised; `finite` whether they and each network's gradients were, in the order of the step,
    by what to call them; `statistics` of the batch: `accuracy_i` the share of real and generated images that D_i tells
    apart, `diversity` as the function of that name says.
    """

    losses: dict[str, Tensor]
    finite: dict[str, Tensor]
    statistics: dict[str, Tensor] = field(default_factory=dict)

    def followed_by(self, other: Outcome) -> Outcome:
        """Both as one, this one's first."""
        return Outcome(self.losses | other.losses, self.finite | other.finite, self.statistics | other.statistics)

    @classmethod
    def mean(cls, parts: list[Outcome]) -> Outcome:
        """Of the parts of a batch: means, and whether all were finite."""

        def stacked(kind: str) -> dict[str, Tensor]:
            each = [getattr(part, kind) for part in parts]
            return {name: torch.stack([named[name] for named in each]) for name in each[0]}

        losses, statistics = ({k: v.mean(0) for k, v in stacked(kind).items()} for kind in ("losses", "statistics"))
        return cls(losses, {k: v.all() for k, v in stacked("finite").items()}, statistics)


@dataclass
class Text:
    """A batch of captions, encoded: words (b, N_w, T), sentence (b, N_w), padding_mask (b, T), class_ids (b,)."""

    words: Tensor
    sentence: Tensor
    padding_mask: Tensor
    class_ids: Tensor


def finite(losses: dict[str, Tensor], network: str, engine: Engine) -> dict[str, Tensor]:
    """Whether each loss is finite and, seen at the weights after the update, the gradients; nothing waits for it."""
    each = finite_numbers(torch.stack(list(losses.values()))).unbind()
    flags = {f"the loss {name} is": flag for name, flag in zip(losses, each, strict=True)}
    return flags | {f"the gradients of {network} are": engine.healthy()}


def matching_losses(regions: Tensor, code: Tensor, text: Text, objective: Objective) -> tuple[Tensor, Tensor]:
    """L^w and L^s of DAMSM, each the sum of both directions; negatives are the batches of all workers, unless local.

    Each worker scores its own images against everybody's captions, and the rows of scores are put together.
    """
    everybody = objective.negatives == "global"
    mine = (text.words, text.sentence, text.padding_mask, text.class_ids)
    words, sentence, mask, classes = collective.all_gather(*mine) if everybody else mine
    by_word = objective.gamma3 * word_scores(regions, words, mask, objective.gamma1, objective.gamma2)
    by_sentence = objective.gamma3 * sentence_scores(code, sentence)
    if everybody:
        by_word, by_sentence = collective.all_gather(by_word, by_sentence)
    of_words, of_sentences = matching_loss(torch.stack([by_word, by_sentence]), classes).sum(-1).unbind()
    return of_words, of_sentences


def pyramid(images: Tensor, sizes: list[int], smaller: str = "average") -> list[Tensor]:
    """uint8 images (b, 3, S, S) as float in [-1, 1] at each of `sizes` pixels.

    By averaging, or `bilinear` as Pillow: a triangle over twice the pixels, though not rounded to 8 bits.
    """
    full = to_unit(images.contiguous())

    def resized(size: int) -> Tensor:
        if size == full.shape[-1]:
            return full
        if smaller == "bilinear":
            return F.interpolate(full, size=(size, size), mode="bilinear", antialias=True)
        return F.avg_pool2d(full, full.shape[-1] // size)

    return [resized(size) for size in sizes]


def precision(config: Config, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """What a forward pass runs in: nothing for float32, autocast for bfloat16 (weights and losses stay in float32)."""
    if config.train.precision == "float32":
        return nullcontext
    return partial(torch.autocast, device.type, torch.bfloat16)
