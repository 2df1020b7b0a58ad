"""`gan-int-cls`: one stage and the matching-aware discriminator of Reed et al. (ICML 2016), without DAMSM.

With t the sentence of image x, t̂ that of another one, and x̂ drawn for t, in logits' cross-entropies:

| equation (theirs, Algorithm 1, without interpolated sentences)                | here |
|---|---|
| L_D = −log D(x, t) − ½ [log(1 − D(x, t̂)) + log(1 − D(x̂, t))]               | `MatchingAware.discriminator_losses` |
| L_G = −log D(x̂, t)                                                          | `MatchingAware.generator_losses` |

D's unconditional head is not used, and there is no conditioning augmentation: the sentence is projected.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dmgan.architectures.architecture import Architecture, architectures
from dmgan.config import Config, ConfigError, Model
from dmgan.model.build import initialised
from dmgan.model.generator import Generator, GeneratorOutput
from dmgan.training.gan import GanTraining, told_apart
from dmgan.training.objectives import as_generated, as_real
from dmgan.training.outcome import Text

__all__ = ["MatchingAware"]


class SentenceProjection(nn.Module):
    """sentence (B, N_w) -> condition (B, C), and empty μ and log σ²: nothing is drawn, `eps` is not used."""

    def __init__(self, word_dim: int, condition_dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(word_dim, condition_dim, bias=False)  # batch normalisation follows, which takes one out

    def forward(self, sentence: Tensor, eps: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        condition = F.leaky_relu(self.fc(sentence), 0.2)
        return condition, condition.new_empty(0), condition.new_empty(0)


class MatchingAware(GanTraining):
    """The step of Reed et al.: D also sees real images with sentences of others, which it is to refuse."""

    def discriminator_losses(
        self, real: list[Tensor], fake: list[Tensor], text: Text
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        n = len(text.sentence)
        judged, wrong_weight = self.judge(real, fake, text)
        assert wrong_weight is not None  # `check` sees to it
        conditional = judged[0][1].float()
        wrong = wrong_weight * as_generated(conditional[2 * n :])
        loss = as_real(conditional[:n]) + (wrong + as_generated(conditional[n : 2 * n])) / 2
        return {"discriminator_0": loss}, {"accuracy_0": told_apart(conditional[:n], conditional[n : 2 * n])}

    def generator_losses(
        self, discriminators: nn.Module, fake: GeneratorOutput, text: Text
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        with self.autocast():
            ((_, conditional),) = discriminators(fake.images, text.sentence)
        return {"generator_0": as_real(conditional.float())}, {}


def generator(model: Model, checkpointing: bool = False) -> nn.Module:
    def no_refinement() -> nn.Module:
        raise AssertionError("`check` refuses refinements")

    projection = SentenceProjection(model.word_dim, model.condition_dim)
    return initialised(Generator(model, no_refinement, conditioning=projection, checkpointing=checkpointing))


def check(config: Config) -> None:
    if config.model.refinements:
        raise ConfigError(
            f"model.refinements={config.model.refinements}: expected 0 with model.architecture=gan-int-cls, whose one "
            "stage has images of model.base_size pixels"
        )
    if not config.objective.mismatched_pairs:
        raise ConfigError(
            "objective.mismatched_pairs=false: expected true with model.architecture=gan-int-cls, whose discriminator "
            "learns from them"
        )


architectures.register("gan-int-cls", Architecture(generator, training=MatchingAware, check=check))
