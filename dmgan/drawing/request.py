"""What is to be drawn, and the random numbers that belong to it.

Shapes: B requests, Z dimensions of the noise z, C of the condition c.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from datasets.documents import short
from datasets.errors import UserError
from dmgan.seeds import seed_of

__all__ = [
    "DrawingError",
    "Request",
    "check_truncation",
    "check_whole",
    "normal_draws",
    "random_numbers",
    "truncated",
]


class DrawingError(UserError):
    """What is asked for cannot be drawn; one line."""


@dataclass(frozen=True)
class Request:
    """A picture to draw: noise `number` of a caption.

    The noise z and the draw ε of conditioning augmentation are functions of (seed, caption, number) alone.
    `noise_caption` is another caption whose random numbers it takes, so that the words alone differ. `truncation` t
    keeps both within ±t (see `truncated`); a `noise` z of Z numbers is used as it is. Raises DrawingError.
    """

    caption: str
    number: int = 0
    seed: int = 0
    truncation: float | None = None
    noise: Sequence[float] | np.ndarray | Tensor | None = field(default=None, compare=False)
    noise_caption: str | None = None

    def __post_init__(self) -> None:
        for text in (self.caption, self.caption if self.noise_caption is None else self.noise_caption):
            if not isinstance(text, str):
                raise DrawingError(f"caption {short(text)}: expected a text")
        for name in ("number", "seed"):
            check_whole(name, getattr(self, name), 0)
        check_truncation(self.truncation)

    @property
    def random_seed(self) -> int:
        """The seed of its random numbers: a checksum of seed, caption and number."""
        caption = self.caption if self.noise_caption is None else self.noise_caption
        checksum = hashlib.sha256(caption.encode("utf-8", "surrogatepass")).digest()[:8]
        return seed_of(self.seed, int.from_bytes(checksum, "big"), self.number)


def check_whole(name: str, value: int, least: int) -> None:
    """Raise DrawingError for what is no whole number of at least `least`."""
    try:
        fits = operator.index(value) >= least
    except TypeError:
        fits = False
    if not fits:
        raise DrawingError(f"{name}={short(value)}: expected a whole number of at least {least}")


def check_truncation(limit: float | None) -> None:
    """Raise DrawingError for what is no limit of the noise."""
    if limit is None:
        return
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not (math.isfinite(limit) and limit > 0):
        raise DrawingError(f"truncation={short(limit)}: expected a number above 0, such as 0.7")


def normal_draws(seeds: Sequence[int], size: int) -> Tensor:
    """Standard normal numbers (B, size), a row a seed."""
    return torch.stack([torch.randn(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def truncated(values: Tensor, limit: float) -> Tensor:
    """Standard normal `values` as draws of the normal distribution cut at ±`limit`, of the same shape.

    The truncation trick (Brock et al., "Large scale GAN training", ICLR 2019): less variety, more typical images.
    There a number beyond the limit is drawn again. Here each goes to the same quantile of the cut distribution: the
    same distribution, and a picture changes gradually with the limit.
    """
    below, share = _normal_cdf(-limit), 1 - 2 * _normal_cdf(-limit)
    quantiles = below + share * torch.special.ndtr(values.double())
    return torch.special.ndtri(quantiles).clamp(-limit, limit).to(values.dtype)


def _normal_cdf(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2))


def random_numbers(requests: Sequence[Request], noise_dim: int, condition_dim: int) -> tuple[Tensor, Tensor]:
    """z (B, Z) and ε (B, C) of the requests. Raises DrawingError for a `noise` that is not Z finite numbers."""
    drawn = normal_draws([request.random_seed for request in requests], noise_dim + condition_dim)
    for row, request in enumerate(requests):
        if request.truncation is not None:
            drawn[row] = truncated(drawn[row], request.truncation)
        if request.noise is not None:
            drawn[row, :noise_dim] = _given(request.noise, noise_dim)
    noise, eps = drawn.split((noise_dim, condition_dim), dim=1)
    return noise, eps


def _given(noise: Sequence[float] | np.ndarray | Tensor, size: int) -> Tensor:
    try:
        given = torch.as_tensor(noise, dtype=torch.float32, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise DrawingError(f"noise={short(noise)}: expected {size} numbers") from None
    if given.shape != (size,) or not given.isfinite().all():
        raise DrawingError(f"noise of shape {tuple(given.shape)}: expected {size} finite numbers (model.noise_dim)")
    return given
