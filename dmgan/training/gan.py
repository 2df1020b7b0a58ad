"""One training step of DM-GAN, on whatever holds the weights (Section 3; Eq. 10–13).

Shapes: b batch of this worker, W workers, T words, N_w word features.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmgan.config import Objective
from dmgan.model import collective
from dmgan.model.build import Encoders, Logits
from dmgan.model.generator import GeneratorOutput
from dmgan.model.layers import power_iteration_at_rest, recomputation
from dmgan.seeds import seed_of
from dmgan.training.average import Average
from dmgan.training.batch import TrainingBatch, to_device
from dmgan.training.engine import Engine
from dmgan.training.objectives import conditioning_loss, discriminator_loss, generator_loss
from dmgan.training.outcome import Outcome, Text, finite, matching_losses, pyramid

__all__ = ["GanTraining", "Part", "diversity", "draw_noise", "told_apart"]


@dataclass
class Part:
    """What one pass through the networks needs: texts, images uint8 (b, 3, S, S), noise (b, Z) and eps (b, C)."""

    text: Text
    images: Tensor
    noise: Tensor
    eps: Tensor


def draw_noise(dims: tuple[int, ...], *, seed: int, step: int, batch_size: int) -> tuple[Tensor, ...]:
    """Standard normal draws (b, d) for each d in `dims`: a function of seed, step and position in the global batch."""
    generator = torch.Generator().manual_seed(seed_of(seed, step))
    everyone = torch.randn(collective.world_size() * batch_size, sum(dims), generator=generator)
    return everyone[collective.rank() * batch_size :][:batch_size].split(dims, dim=1)


@dataclass
class GanTraining:
    """Generator, discriminators, frozen encoders and the generator's average; `step` moves them on by one batch.

    An architecture with other objectives overrides `discriminator_losses` and `generator_losses`.
    """

    generator: Engine
    discriminators: Engine
    encoders: Encoders
    average: Average
    objective: Objective
    seed: int
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    accumulate: int = 1  # parts of a worker's batch that are computed one after the other, as other workers' would be

    def step(self, batch: TrainingBatch, number: int) -> Outcome:
        """Train on `batch`, which is on the device; `number` is the step's."""
        generator: Any = self.generator.module
        noise, eps = draw_noise(
            (generator.noise_dim, generator.condition_dim), seed=self.seed, step=number, batch_size=len(batch)
        )
        parts = [
            Part(self.encode(part), part.images, noise_part, eps_part)
            for part, noise_part, eps_part in zip(
                batch.chunks(self.accumulate), noise.chunk(self.accumulate), eps.chunk(self.accumulate), strict=True
            )
        ]
        outcome = self._step_whole(parts[0]) if len(parts) == 1 else self._step_in_parts(parts)
        self.average.update(self.generator, number)
        return outcome

    def _step_whole(self, part: Part) -> Outcome:
        fake = self.generate(part)
        real = self.real_images(part, fake)
        outcome = self.update_discriminators(real, [image.detach() for image in fake.images], part.text)
        outcome.statistics["diversity"] = diversity(fake.images[-1], real[-1])
        return outcome.followed_by(self.update_generator(fake, part.text))

    def _step_in_parts(self, parts: list[Part]) -> Outcome:
        """Each part's images are made twice, so that only one part's graph is kept at a time."""
        of_discriminators, of_generator = [], []
        for i, part in enumerate(parts):
            with torch.no_grad():
                fake = self.generate(part)
            real = self.real_images(part, fake)
            with power_iteration_at_rest(i > 0):
                of_discriminators.append(self.update_discriminators(real, fake.images, part.text))
            of_discriminators[-1].statistics["diversity"] = diversity(fake.images[-1], real[-1])
        for i, part in enumerate(parts):
            with recomputation():
                fake = self.generate(part)
            with power_iteration_at_rest(i > 0):
                of_generator.append(self.update_generator(fake, part.text))
        return Outcome.mean(of_discriminators).followed_by(Outcome.mean(of_generator))

    def real_images(self, part: Part, fake: GeneratorOutput) -> list[Tensor]:
        """A part's real images (b, 3, s, s) at the sizes of the generated ones, in [-1, 1]."""
        return pyramid(part.images, [image.shape[-1] for image in fake.images], self.objective.smaller_images)

    def generate(self, part: Part) -> GeneratorOutput:
        """Generated images of a part, float32 whatever they were computed in."""
        text, device = part.text, part.text.sentence.device
        with self.autocast():
            noise, eps = (to_device(draw, device) for draw in (part.noise, part.eps))
            fake: GeneratorOutput = self.generator(noise, text.sentence, text.words, text.padding_mask, eps)
        fake.images = [image.float() for image in fake.images]
        return fake

    @torch.no_grad()
    def encode(self, batch: TrainingBatch) -> Text:
        words, sentence = self.encoders.text(batch.ids, batch.lengths)
        return Text(words, sentence, batch.ids == 0, batch.classes)

    def update_discriminators(self, real: list[Tensor], fake: list[Tensor], text: Text) -> Outcome:
        """One backward pass of the sum of `discriminator_losses`."""
        losses, statistics = self.discriminator_losses(real, fake, text)
        self.discriminators.backward(torch.stack(list(losses.values())).sum())
        self.discriminators.step()
        detached = {name: loss.detach() for name, loss in losses.items()}
        return Outcome(detached, finite(detached, "discriminators", self.discriminators), statistics)

    def update_generator(self, fake: GeneratorOutput, text: Text) -> Outcome:
        """One backward pass of the weighted sum of `generator_losses`."""
        # Frozen, and around the engine: D's own gradients must neither be computed nor reduced here.
        discriminators = self.discriminators.module.requires_grad_(False)
        losses, weights = self.generator_losses(discriminators, fake, text)
        weighted = [weights[name] * loss if name in weights else loss for name, loss in losses.items()]
        self.generator.backward(torch.stack(weighted).sum())
        self.generator.step()
        discriminators.requires_grad_(True)
        detached = {name: loss.detach() for name, loss in losses.items()}
        return Outcome(detached, finite(detached, "generator", self.generator))

    def discriminator_losses(
        self, real: list[Tensor], fake: list[Tensor], text: Text
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Eq. 12 of every stage, and the share of real and generated images that each D_i tells apart.

        real and fake: (b, 3, s, s) a stage, in [-1, 1].
        """
        n = len(text.sentence)
        judged, wrong_weight = self.judge(real, fake, text)
        unconditional, conditional = _of_all(judged)
        mismatched = [] if wrong_weight is None else [conditional.shape[1] - 2 * n]
        real_alone, fake_alone = unconditional.split(n, dim=1)
        real_pairs, fake_pairs, *wrong_pairs = conditional.split([n, n, *mismatched], dim=1)
        losses = discriminator_loss(
            real_alone,
            real_pairs,
            fake_alone,
            fake_pairs,
            wrong_pairs[0] if wrong_pairs else None,
            1.0 if wrong_weight is None else wrong_weight,
        )
        accuracy = told_apart(real_alone, fake_alone)
        return by_stage("discriminator", losses), by_stage("accuracy", accuracy)

    def generator_losses(
        self, discriminators: nn.Module, fake: GeneratorOutput, text: Text
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Eq. 10: adversarial terms of every stage, Eq. 13, DAMSM on the last stage's images; and the terms' weights
        (λ1 and λ2) where they are not 1."""
        with self.autocast():
            judged = discriminators(fake.images, text.sentence)
            regions, code = self.encoders.image(fake.images[-1])
        losses = by_stage("generator", generator_loss(*_of_all(judged), self.objective.generator_weight))
        losses["conditioning"] = conditioning_loss(fake.mu.float(), fake.logvar.float(), self.objective.conditioning)
        losses["words"], losses["sentence"] = matching_losses(regions.float(), code.float(), text, self.objective)
        weights = {"conditioning": self.objective.lambda_ca}
        return losses, weights | dict.fromkeys(("words", "sentence"), self.objective.lambda_damsm)

    def judge(self, real: list[Tensor], fake: list[Tensor], text: Text) -> tuple[list[Logits], float | None]:
        """Logits of each D_i on n real and n generated images: unconditional (2n,), conditional (2n + w,), of which the
        last w are of real images with mismatched sentences; and the weight of those on this worker, None without any.
        """
        wrong, weight = None, None
        if self.objective.mismatched_pairs:
            wrong, weight = _wrong_sentences(text.sentence, self.objective.mismatches)
        both = [torch.cat(pair) for pair in zip(real, fake, strict=True)]
        parts = 1 if self.objective.one_forward else 2
        with self.autocast():
            judged = self.discriminators(both, torch.cat([text.sentence, text.sentence]), wrong, parts)
        return judged, weight


def told_apart(real: Tensor, fake: Tensor) -> Tensor:
    """The share of real and of generated images, by their logits (…, b), that each discriminator tells apart: (…)."""
    return (torch.stack([real, -fake]) > 0).float().mean((0, -1))


def by_stage(name: str, values: Tensor) -> dict[str, Tensor]:
    """NAME_0, NAME_1, … of values (stages,)."""
    return {f"{name}_{i}": value for i, value in enumerate(values.unbind())}


@torch.no_grad()
def diversity(fake: Tensor, real: Tensor) -> Tensor:
    """How different the generated images (b, 3, S, S) of a batch are from one another, over the same of the real ones.

    The deviation over the batch of each of 8×8 places' colours; near 0 the generator draws one image for all captions.
    """
    of_fake, of_real = (F.adaptive_avg_pool2d(images.float(), 8).std(dim=0).mean() for images in (fake, real))
    return of_fake / of_real.clamp_min(1e-6)


def _of_all(judged: list[Logits]) -> tuple[Tensor, Tensor]:
    """Unconditional and conditional logits of all discriminators, each (stages, images), in float32."""
    unconditional, conditional = (torch.stack(logits).float() for logits in zip(*judged, strict=True))
    return unconditional, conditional


def _wrong_sentences(sentence: Tensor, over: str) -> tuple[Tensor, float]:
    """For each image of this worker the next image's sentence in the `global` batch; the very last image has none.

    Also this worker's number of pairs over the average number. Of `local` pairs the last image of each worker has none.
    """
    if over == "local":
        return sentence[1:], 1.0
    b, rank = len(sentence), collective.rank()
    (everyone,) = collective.all_gather(sentence)
    wrong = everyone[rank * b + 1 : rank * b + b + 1]
    return wrong, len(wrong) * collective.world_size() / (len(everyone) - 1)
