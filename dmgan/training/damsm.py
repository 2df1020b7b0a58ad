"""DAMSM pre-training [28]: the text and image encoders learn which caption belongs to which image."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import cos, pi

from dmgan.config import Objective
from dmgan.training.batch import TrainingBatch
from dmgan.training.engine import Engine
from dmgan.training.outcome import Outcome, Text, finite, matching_losses, pyramid

__all__ = ["DamsmTraining", "one_cycle"]


def one_cycle(step: int, steps: int, peak: float, warmup: float = 0.1) -> float:
    """The learning rate at `step` of `steps`: a linear rise over the first tenth, then half a cosine down to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + cos(pi * (step - rise) / max(1, steps - rise)))


@dataclass
class DamsmTraining:
    """Both encoders in one engine; `step` moves them on by one batch."""

    encoders: Engine
    objective: Objective
    lr: float
    steps: int
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext

    def step(self, batch: TrainingBatch, number: int) -> Outcome:
        """Train on `batch`, which is on the device; `number` is the step's."""
        self.encoders.set_lr(one_cycle(number, self.steps, self.lr))
        (images,) = pyramid(batch.images, [batch.images.shape[-1]])
        with self.autocast():
            encoded = self.encoders(images, batch.ids, batch.lengths)
        regions, code, words, sentence = (features.float() for features in encoded)
        text = Text(words, sentence, batch.ids == 0, batch.classes)
        by_word, by_sentence = matching_losses(regions, code, text, self.objective)
        self.encoders.backward(by_word + by_sentence)
        self.encoders.step()
        losses = {"words": by_word.detach(), "sentence": by_sentence.detach()}
        return Outcome(losses, finite(losses, "encoders", self.encoders))
