"""Species of drawn birds whose pairs of colours training and test do not share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import permutations
from typing import Protocol, TypeVar

import numpy as np

__all__ = ["species_by_pairs"]


class Named(Protocol):
    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=Named)


def species_by_pairs(
    rng: np.random.Generator, colours: Iterable[str], train: int, test: int, drawn: Callable[[str, str], S]
) -> tuple[list[S], list[S]]:
    """So many species of training and of test, of different names and of disjoint pairs of body and wing colour.

    `drawn` makes one of such a pair.
    """
    pairs = list(permutations(colours, 2))
    rng.shuffle(pairs)
    held_out = len(pairs) // 4
    used: set[str] = set()

    def species_of(pairs: list[tuple[str, str]], count: int) -> list[S]:
        found: list[S] = []
        while len(found) < count:
            candidate = drawn(*pairs[len(found) % len(pairs)])
            if candidate.name not in used:
                used.add(candidate.name)
                found.append(candidate)
        return found

    return species_of(pairs[held_out:], train), species_of(pairs[:held_out], test)
