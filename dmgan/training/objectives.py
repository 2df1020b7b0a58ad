"""The objectives: Eq. 10–13.

| equation | here |
|---|---|
| Eq. 10  L = Σ_i L_{G_i} + λ1 L_CA + λ2 L_DAMSM                      | `dmgan.training.gan` adds the terms |
| Eq. 11  L_{G_i} = −½ [E log D_i(x̂) + E log D_i(x̂, s)]              | `generator_loss` |
| Eq. 12  L_{D_i}, the adversarial terms of the discriminator         | `discriminator_loss` |
| Eq. 13  L_CA = D_KL(N(μ(s), Σ(s)) ‖ N(0, I))                        | `conditioning_loss` |
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["as_generated", "as_real", "conditioning_loss", "discriminator_loss", "generator_loss"]


def generator_loss(unconditional: Tensor, conditional: Tensor, weight: float = 0.5) -> Tensor:
    """Eq. 11 from logits (…, B) of generated images, of each discriminator: (…). The released code's `weight` is 1."""
    return weight * as_real(torch.stack([unconditional, conditional])).sum(0)


def discriminator_loss(
    unconditional_real: Tensor,
    conditional_real: Tensor,
    unconditional_fake: Tensor,
    conditional_fake: Tensor,
    conditional_wrong: Tensor | None = None,
    wrong_weight: float = 1.0,
) -> Tensor:
    """Eq. 12 from logits (…, B), of each discriminator: (…).

    `conditional_wrong`, the logits of real images with another image's sentence, is not in the paper; with it the
    terms are weighed as in the released code: (real terms)/2 + (fake and wrong terms)/3. `wrong_weight` is this
    worker's number of mismatched pairs over the workers' average.
    """
    # All terms are one: −log(1 − D) of a logit is −log D of its negative.
    terms = as_real(torch.stack([unconditional_real, conditional_real, -unconditional_fake, -conditional_fake]))
    if conditional_wrong is None:
        return terms.sum(0) / 2
    real, fake = terms[:2].sum(0), terms[2:].sum(0)
    return real / 2 + (fake + wrong_weight * as_generated(conditional_wrong)) / 3


def conditioning_loss(mu: Tensor, logvar: Tensor, reduction: str = "mean") -> Tensor:
    """Eq. 13, the divergence of N(μ, σ²) from the standard normal, from mu and logvar (B, C): the batch's mean.

    Over dimensions the divergence is a `sum`; the released code takes the `mean`.
    """
    divergence = -0.5 * (1 + logvar - mu.square() - logvar.exp())
    return divergence.mean() if reduction == "mean" else divergence.sum(1).mean()


def as_real(logits: Tensor) -> Tensor:
    """−E log D of logits (…, B) that are to say real: (…)."""
    return -F.logsigmoid(logits).mean(-1)


def as_generated(logits: Tensor) -> Tensor:
    """−E log(1 − D) of logits (…, B) that are to say generated: (…)."""
    return -F.logsigmoid(-logits).mean(-1)
