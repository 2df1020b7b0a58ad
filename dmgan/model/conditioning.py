"""Conditioning augmentation, Eq. 13's distribution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConditioningAugmentation"]


class ConditioningAugmentation(nn.Module):
    """Draw the condition c ~ N(μ(s), Σ(s)), Σ diagonal, by c = μ + ε ⊙ exp(½ log σ²).

    sentence (B, N_w), eps (B, C) standard normal -> c, mu, logvar, each (B, C).
    """

    def __init__(self, word_dim: int, condition_dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(word_dim, 4 * condition_dim)

    def forward(self, sentence: Tensor, eps: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = F.glu(self.fc(sentence), dim=1).chunk(2, dim=1)
        if eps is None:
            eps = torch.randn_like(mu)
        return mu + eps * (0.5 * logvar).exp(), mu, logvar
