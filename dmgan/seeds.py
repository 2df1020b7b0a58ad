"""Seeds and random integers that are functions of several numbers."""

from __future__ import annotations

import numpy as np

__all__ = ["random_integers", "seed_of"]


def seed_of(*parts: int) -> int:
    """A 64-bit seed that is a function of `parts` (non-negative), well mixed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def random_integers(seed: int | np.ndarray, *parts: np.ndarray) -> np.ndarray:
    """uint64, each a function of the seed and of its element of `parts`, integers whose shapes are broadcast.

    Seeds may also be such numbers themselves. By the finaliser of SplitMix64 (Steele et al., 2014), once for every
    part.
    """
    found = np.full(1, seed_of(seed), np.uint64) if isinstance(seed, int) else seed
    for part in parts:
        found = found + (part.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            found ^= found >> np.uint64(shift)
            found *= np.uint64(factor)
        found ^= found >> np.uint64(31)
    return found
