"""One training step by the released procedure, on `benchmarks.released_networks`.

Real and generated images go through each discriminator one after the other, its heads through three more; the
discriminators are not frozen while the generator learns; matching scores are made caption by caption; every network has
an Adam of its own, and the average is made tensor by tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.released_networks import ReleasedDiscriminator, ReleasedGenerator, ReleasedImageEncoder
from dmgan.config import Config, Objective
from dmgan.reference import export, export_discriminator
from dmgan.training.batch import TrainingBatch
from dmgan.training.gan import GanTraining, draw_noise
from dmgan.training.objectives import conditioning_loss

__all__ = ["ReleasedTraining"]

Losses = dict[str, Tensor]


@dataclass
class Batch:
    """What a step works on: encoded captions, and the draws."""

    words: Tensor  # (B, N_w, T), as wide as the longest caption
    sentence: Tensor  # (B, N_w)
    mask: Tensor  # (B, T)
    lengths: list[int]
    classes: Tensor  # (B,)
    noise: Tensor  # (B, Z)
    eps: Tensor  # (B, C)


class ReleasedTraining:
    """Starts from the weights of `ours`, a training that has not begun, on the same device."""

    def __init__(self, config: Config, ours: GanTraining, device: torch.device) -> None:
        model, optimizer = config.model, config.optimizer
        self.objective, self.device, self.seed = config.objective, device, config.train.seed
        self.dims = (model.noise_dim, model.condition_dim)
        self.text = ours.encoders.text
        self.image = ReleasedImageEncoder(model)
        # Checkpoints name Inception's tensors but for the auxiliary head's, which is not there.
        self.image.load_state_dict(export(ours.encoders.image))
        self.generator = ReleasedGenerator(model)
        self.generator.load_state_dict(export(ours.generator.module))
        self.discriminators = nn.ModuleList(ReleasedDiscriminator(size, model) for size in model.image_sizes)
        for theirs, module in zip(self.discriminators, ours.discriminators.module.children(), strict=True):
            theirs.load_state_dict(export_discriminator(module))  # type: ignore[arg-type]
        for network in (self.image, self.generator, self.discriminators):
            network.to(device)
        self.average = [p.detach().clone() for p in self.generator.parameters()]
        betas = (optimizer.beta1, optimizer.beta2)
        self.generator_adam = torch.optim.Adam(self.generator.parameters(), optimizer.generator_lr, betas)
        self.adams = [
            torch.optim.Adam([p for p in d.parameters() if p.requires_grad], optimizer.discriminator_lr, betas)
            for d in self.discriminators
        ]

    def step(self, real: list[Tensor], batch: TrainingBatch, number: int) -> Losses:
        """Train on real images [(B, 3, s, s) per stage] in [-1, 1], made on the host; returns the losses, detached."""
        real = [image.to(self.device) for image in real]
        given = self._encode(batch, number)
        images, mu, logvar = self.generator(given.noise, given.sentence, given.words, given.mask, given.eps)
        losses: Losses = {}
        for i, (discriminator, adam) in enumerate(zip(self.discriminators, self.adams, strict=True)):
            discriminator.zero_grad()
            loss = losses[f"discriminator_{i}"] = judged(discriminator, real[i], images[i].detach(), given.sentence)
            loss.backward()
            adam.step()
        self.generator.zero_grad()
        of_generator: Losses = {}
        for i, discriminator in enumerate(self.discriminators):
            features = discriminator(images[i])
            match = discriminator.get_submodule("COND_DNET")(features, given.sentence)
            of_generator[f"generator_{i}"] = said(discriminator.get_submodule("UNCOND_DNET")(features), 1) + said(
                match, 1
            )
        of_generator["conditioning"] = conditioning_loss(mu, logvar)
        regions, code = self.image(images[-1])
        of_generator["words"] = in_both_directions(word_scores(regions, given, self.objective), given)
        of_generator["sentence"] = in_both_directions(sentence_scores(code, given, self.objective), given)
        weight = self.objective.lambda_damsm
        total = [v * (weight if k in ("words", "sentence") else 1.0) for k, v in of_generator.items()]
        torch.stack(total).sum().backward()
        self.generator_adam.step()
        for mine, theirs in zip(self.average, self.generator.parameters(), strict=True):
            mine.mul_(0.999).add_(theirs.detach(), alpha=0.001)
        return {name: loss.detach() for name, loss in (losses | of_generator).items()}

    @torch.no_grad()
    def _encode(self, batch: TrainingBatch, number: int) -> Batch:
        longest = int(batch.lengths.max())
        ids = batch.ids[:, :longest]
        words, sentence = self.text(ids, batch.lengths)
        draws = draw_noise(self.dims, seed=self.seed, step=number, batch_size=len(batch))
        noise, eps = (draw.to(self.device) for draw in draws)
        return Batch(words, sentence, ids == 0, batch.lengths.tolist(), batch.classes, noise, eps)


def said(probabilities: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy(probabilities, torch.full_like(probabilities, target))


def judged(network: nn.Module, real: Tensor, fake: Tensor, sentence: Tensor) -> Tensor:
    """The released loss of one discriminator, mismatched pairs included."""
    of_real, of_fake = network(real), network(fake)
    conditional, unconditional = network.get_submodule("COND_DNET"), network.get_submodule("UNCOND_DNET")
    match, fake_match = conditional(of_real, sentence), conditional(of_fake, sentence)
    wrong = conditional(of_real[:-1], sentence[1:])
    good = said(unconditional(of_real), 1) + said(match, 1)
    return good / 2 + (said(unconditional(of_fake), 0) + said(fake_match, 0) + said(wrong, 0)) / 3


def word_scores(regions: Tensor, given: Batch, objective: Objective) -> Tensor:
    """Scores (B images, B captions) times γ3, one caption after the other."""
    columns = []
    context = regions.flatten(2)  # (B, N_w, R)
    for i, length in enumerate(given.lengths):
        words = given.words[i, :, :length].repeat(len(context), 1, 1)
        similarity = torch.bmm(context.transpose(1, 2), words).softmax(dim=2)  # over the caption's words
        attention = (similarity.transpose(1, 2) * objective.gamma1).softmax(dim=2)
        seen = torch.bmm(context, attention.transpose(1, 2))  # (B, N_w, words)
        cosine = F.cosine_similarity(seen, words, dim=1, eps=1e-8)
        columns.append((objective.gamma2 * cosine).exp().sum(dim=1, keepdim=True).log())
    return objective.gamma3 * torch.cat(columns, dim=1)


def sentence_scores(code: Tensor, given: Batch, objective: Objective) -> Tensor:
    norms = code.norm(dim=1, keepdim=True) @ given.sentence.norm(dim=1, keepdim=True).t()
    return objective.gamma3 * (code @ given.sentence.t()) / norms.clamp_min(1e-8)


def in_both_directions(scores: Tensor, given: Batch) -> Tensor:
    same = given.classes[:, None] == given.classes[None]
    scores = scores.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool, device=same.device), float("-inf"))
    target = torch.arange(len(same), device=same.device)
    return F.cross_entropy(scores, target) + F.cross_entropy(scores.t(), target)
