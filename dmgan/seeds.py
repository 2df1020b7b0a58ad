"""One way to make a seed of several numbers."""

from __future__ import annotations

import numpy as np

__all__ = ["seed_of"]


def seed_of(*parts: int) -> int:
    """A 64-bit seed that is a function of `parts` (non-negative), well mixed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])
