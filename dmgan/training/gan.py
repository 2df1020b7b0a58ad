"""One training step of DM-GAN, on whatever holds the weights (Section 3; Eq. 10–13).

Shapes: b batch of this worker, W workers, T words, N_w word features.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dmgan.config import Config, Objective
from dmgan.model import collective
from dmgan.model.build import Encoders
from dmgan.model.layers import power_iteration_at_rest, recomputation
from dmgan.pixels import to_unit
from dmgan.seeds import seed_of
from dmgan.training.average import Average
from dmgan.training.engine import Engine
from dmgan.training.matching import matching_loss, sentence_scores, word_scores
from dmgan.training.objectives import conditioning_loss, discriminator_loss, generator_loss

__all__ = ["GanTraining", "Outcome", "Text", "draw_noise", "precision", "pyramid", "to_device"]


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


def pyramid(images: Tensor, sizes: list[int]) -> list[Tensor]:
    """uint8 images (b, 3, S, S) as float in [-1, 1] at each of `sizes` pixels, by averaging."""
    full = to_unit(images.contiguous())
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
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    accumulate: int = 1  # parts of a worker's batch that are computed one after the other, as other workers' would be

    def step(self, batch: dict[str, Any], number: int) -> Outcome:
        """Train on `batch` (see `datasets.stream`, on the device); `number` is the step's."""
        generator: Any = self.generator.module
        noise, eps = draw_noise(
            (generator.noise_dim, generator.condition_dim),
            seed=self.seed,
            step=number,
            batch_size=len(batch["caption"]),
        )
        parts = [
            Part(self.encode(part), part["image"], noise_part, eps_part)
            for part, noise_part, eps_part in zip(
                _chunks(batch, self.accumulate), noise.chunk(self.accumulate), eps.chunk(self.accumulate), strict=True
            )
        ]
        outcome = self._step_whole(parts[0]) if len(parts) == 1 else self._step_in_parts(parts)
        self.average.update(self.generator, number)
        return outcome

    def _step_whole(self, part: Part) -> Outcome:
        fake = self.generate(part)
        real = pyramid(part.images, [image.shape[-1] for image in fake.images])
        outcome = self.update_discriminators(real, [image.detach() for image in fake.images], part.text)
        outcome.statistics["diversity"] = diversity(fake.images[-1], real[-1])
        return outcome.followed_by(self.update_generator(fake, part.text))

    def _step_in_parts(self, parts: list[Part]) -> Outcome:
        """Each part's images are made twice, so that only one part's graph is kept at a time."""
        of_discriminators, of_generator = [], []
        for i, part in enumerate(parts):
            with torch.no_grad():
                fake = self.generate(part)
            real = pyramid(part.images, [image.shape[-1] for image in fake.images])
            with power_iteration_at_rest(i > 0):
                of_discriminators.append(self.update_discriminators(real, fake.images, part.text))
            of_discriminators[-1].statistics["diversity"] = diversity(fake.images[-1], real[-1])
        for i, part in enumerate(parts):
            with recomputation():
                fake = self.generate(part)
            with power_iteration_at_rest(i > 0):
                of_generator.append(self.update_generator(fake, part.text))
        return Outcome.mean(of_discriminators).followed_by(Outcome.mean(of_generator))

    def generate(self, part: Part) -> Any:
        """Generated images of a part, float32 whatever they were computed in."""
        text, device = part.text, part.text.sentence.device
        with self.autocast():
            noise, eps = (to_device(draw, device) for draw in (part.noise, part.eps))
            fake = self.generator(noise, text.sentence, text.words, text.padding_mask, eps)
        fake.images = [image.float() for image in fake.images]
        return fake

    @torch.no_grad()
    def encode(self, batch: dict[str, Any]) -> Text:
        words, sentence = self.encoders.text(batch["caption"], batch["length"])
        return Text(words, sentence, batch["caption"] == 0, batch["class"])

    def update_discriminators(self, real: list[Tensor], fake: list[Tensor], text: Text) -> Outcome:
        """Eq. 12 for every stage, in one backward pass."""
        n, wrong, weight = len(text.sentence), None, 1.0
        if self.objective.mismatched_pairs:
            wrong, weight = _wrong_sentences(text.sentence, self.objective.mismatches)
        both = [torch.cat(pair) for pair in zip(real, fake, strict=True)]
        parts = 1 if self.objective.one_forward else 2
        with self.autocast():
            judged = self.discriminators(both, torch.cat([text.sentence, text.sentence]), wrong, parts)
        losses, accuracy = {}, {}
        for i, (unconditional, conditional) in enumerate(_float(judged)):
            accuracy[f"accuracy_{i}"] = (unconditional[:n] > 0).float().mean() / 2
            accuracy[f"accuracy_{i}"] += (unconditional[n:] < 0).float().mean() / 2
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
        detached = {name: loss.detach() for name, loss in losses.items()}
        return Outcome(detached, finite(detached, "discriminators", self.discriminators), accuracy)

    def update_generator(self, fake: Any, text: Text) -> Outcome:
        """Eq. 10: adversarial terms of every stage, λ1 times Eq. 13, λ2 times DAMSM on the last stage's images."""
        # Frozen, and around the engine: D's own gradients must neither be computed nor reduced here.
        discriminators = self.discriminators.module.requires_grad_(False)
        with self.autocast():
            judged = discriminators(fake.images, text.sentence)
            regions, code = self.encoders.image(fake.images[-1])
        losses = {
            f"generator_{i}": generator_loss(unconditional, conditional, self.objective.generator_weight)
            for i, (unconditional, conditional) in enumerate(_float(judged))
        }
        losses["conditioning"] = conditioning_loss(fake.mu.float(), fake.logvar.float(), self.objective.conditioning)
        losses["words"], losses["sentence"] = matching_losses(regions.float(), code.float(), text, self.objective)
        weights = {"conditioning": self.objective.lambda_ca}
        weights |= dict.fromkeys(("words", "sentence"), self.objective.lambda_damsm)
        self.generator.backward(torch.stack([weights.get(k, 1.0) * v for k, v in losses.items()]).sum())
        self.generator.step()
        discriminators.requires_grad_(True)
        detached = {name: loss.detach() for name, loss in losses.items()}
        return Outcome(detached, finite(detached, "generator", self.generator))


def finite(losses: dict[str, Tensor], network: str, engine: Engine) -> dict[str, Tensor]:
    """Whether each loss is finite and, seen at the weights after the update, the gradients; nothing waits for it."""
    flags = {f"the loss {name} is": loss.isfinite().all() for name, loss in losses.items()}
    return flags | {f"the gradients of {network} are": engine.healthy()}


@torch.no_grad()
def diversity(fake: Tensor, real: Tensor) -> Tensor:
    """How different the generated images (b, 3, S, S) of a batch are from one another, over the same of the real ones.

    The deviation over the batch of each of 8×8 places' colours; near 0 the generator draws one image for all captions.
    """
    of_fake, of_real = (F.adaptive_avg_pool2d(images.float(), 8).std(dim=0).mean() for images in (fake, real))
    return of_fake / of_real.clamp_min(1e-6)


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
    return torch.stack(matching_loss(by_word, classes)).sum(), torch.stack(matching_loss(by_sentence, classes)).sum()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """To the device, from pinned memory so that nothing waits."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _chunks(batch: dict[str, Any], parts: int) -> list[dict[str, Tensor]]:
    names = ("image", "caption", "length", "class")
    columns = [batch[name].chunk(parts) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def precision(config: Config, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """What a forward pass runs in: nothing for float32, autocast for bfloat16 (weights and losses stay in float32)."""
    if config.train.precision == "float32":
        return nullcontext
    return partial(torch.autocast, device.type, torch.bfloat16)


def _float(judged: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    return [(unconditional.float(), conditional.float()) for unconditional, conditional in judged]


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
