"""One training step of DM-GAN, on whatever holds the weights (Section 3; Eq. 10–13).

Shapes: b batch of this worker, W workers, T words, N_w word features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dmgan import collective
from dmgan.average import Average
from dmgan.config import Objective
from dmgan.engine import Engine
from dmgan.matching import matching_loss, sentence_scores, word_scores
from dmgan.networks import Encoders
from dmgan.objectives import conditioning_loss, discriminator_loss, generator_loss
from dmgan.seeds import seed_of

__all__ = ["GanTraining", "Text", "draw_noise", "pyramid"]


@dataclass
class Text:
    """A batch of captions, encoded: words (b, N_w, T), sentence (b, N_w), padding_mask (b, T), class_ids (b,)."""

    words: Tensor
    sentence: Tensor
    padding_mask: Tensor
    class_ids: Tensor


def draw_noise(dims: tuple[int, ...], *, seed: int, step: int, batch_size: int) -> tuple[Tensor, ...]:
    """Standard normal draws (b, d) for each d in `dims`: a function of seed, step and position in the global batch."""
    generator = torch.Generator().manual_seed(seed_of(seed, step))
    everyone = torch.randn(collective.world_size() * batch_size, sum(dims), generator=generator)
    return everyone[collective.rank() * batch_size :][:batch_size].split(dims, dim=1)


def pyramid(images: Tensor, sizes: list[int]) -> list[Tensor]:
    """uint8 images (b, 3, S, S) as float in [-1, 1] at each of `sizes` pixels, by averaging."""
    full = images.contiguous().float() / 127.5 - 1
    return [F.avg_pool2d(full, full.shape[-1] // size) if size != full.shape[-1] else full for size in sizes]


@dataclass
class GanTraining:
    """Generator, discriminators, frozen encoders and the generator's average; `step` moves them on by one batch."""

    generator: Engine
    discriminators: Engine
    encoders: Encoders
    average: Average
    objective: Objective
    seed: int

    def step(self, batch: dict[str, Any], number: int) -> dict[str, Tensor]:
        """Train on `batch` (see `datasets.stream`, on the device); `number` is the step's. Returns detached losses."""
        generator: Any = self.generator.module
        noise, eps = draw_noise(
            (generator.noise_dim, generator.condition_dim),
            seed=self.seed,
            step=number,
            batch_size=len(batch["caption"]),
        )
        device = batch["caption"].device
        text = self.encode(batch)
        fake = self.generator(noise.to(device), text.sentence, text.words, text.padding_mask, eps.to(device))
        real = pyramid(batch["image"], [image.shape[-1] for image in fake.images])
        losses = self.update_discriminators(real, [image.detach() for image in fake.images], text)
        losses |= self.update_generator(fake, text)
        self.average.update(self.generator, number)
        return losses

    @torch.no_grad()
    def encode(self, batch: dict[str, Any]) -> Text:
        words, sentence = self.encoders.text(batch["caption"], batch["length"])
        return Text(words, sentence, batch["caption"] == 0, batch["class"])

    def update_discriminators(self, real: list[Tensor], fake: list[Tensor], text: Text) -> dict[str, Tensor]:
        """Eq. 12 for every stage, in one backward pass."""
        n, wrong, weight = len(text.sentence), None, 1.0
        if self.objective.mismatched_pairs:
            wrong, weight = _wrong_sentences(text.sentence)
        both = [torch.cat(pair) for pair in zip(real, fake, strict=True)]
        parts = 1 if self.objective.one_forward else 2
        judged = self.discriminators(both, torch.cat([text.sentence, text.sentence]), wrong, parts)
        losses = {}
        for i, (unconditional, conditional) in enumerate(judged):
            losses[f"discriminator_{i}"] = discriminator_loss(
                unconditional[:n],
                conditional[:n],
                unconditional[n:],
                conditional[n : 2 * n],
                None if wrong is None else conditional[2 * n :],
                weight,
            )
        self.discriminators.backward(torch.stack(list(losses.values())).sum())
        self.discriminators.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def update_generator(self, fake: Any, text: Text) -> dict[str, Tensor]:
        """Eq. 10: adversarial terms of every stage, λ1 times Eq. 13, λ2 times DAMSM on the last stage's images."""
        # Frozen, and around the engine: D's own gradients must neither be computed nor reduced here.
        discriminators = self.discriminators.module.requires_grad_(False)
        judged = discriminators(fake.images, text.sentence)
        losses = {
            f"generator_{i}": generator_loss(unconditional, conditional, self.objective.generator_weight)
            for i, (unconditional, conditional) in enumerate(judged)
        }
        losses["conditioning"] = conditioning_loss(fake.mu, fake.logvar, self.objective.conditioning)
        regions, code = self.encoders.image(fake.images[-1])
        losses["words"], losses["sentence"] = matching_losses(regions, code, text, self.objective)
        weights = {"conditioning": self.objective.lambda_ca}
        weights |= dict.fromkeys(("words", "sentence"), self.objective.lambda_damsm)
        self.generator.backward(torch.stack([weights.get(k, 1.0) * v for k, v in losses.items()]).sum())
        self.generator.step()
        discriminators.requires_grad_(True)
        return {name: loss.detach() for name, loss in losses.items()}


def matching_losses(regions: Tensor, code: Tensor, text: Text, objective: Objective) -> tuple[Tensor, Tensor]:
    """L^w and L^s of DAMSM, each the sum of both directions; negatives are the batches of all workers.

    Each worker scores its own images against everybody's captions, and the rows of scores are put together.
    """
    words, sentence, mask, classes = collective.all_gather(text.words, text.sentence, text.padding_mask, text.class_ids)
    by_word = objective.gamma3 * word_scores(regions, words, mask, objective.gamma1, objective.gamma2)
    by_sentence = objective.gamma3 * sentence_scores(code, sentence)
    by_word, by_sentence = collective.all_gather(by_word, by_sentence)
    return torch.stack(matching_loss(by_word, classes)).sum(), torch.stack(matching_loss(by_sentence, classes)).sum()


def _wrong_sentences(sentence: Tensor) -> tuple[Tensor, float]:
    """For each image of this worker the next image's sentence in the global batch; the very last image has none.

    Also this worker's number of pairs over the average number.
    """
    b, rank = len(sentence), collective.rank()
    (everyone,) = collective.all_gather(sentence)
    wrong = everyone[rank * b + 1 : rank * b + b + 1]
    return wrong, len(wrong) * collective.world_size() / (len(everyone) - 1)
