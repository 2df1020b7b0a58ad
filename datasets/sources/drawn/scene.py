"""What is in a picture of `scenes`: two or three coloured shapes and how they lie to one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from datasets.sources.drawn.scene_shapes import PALETTE, SHAPES

__all__ = ["OPPOSITE", "STEPS", "TEST_SCENES", "TRAIN_SCENES", "Scene", "Thing", "held_out_pairs", "make_scenes"]

TRAIN_SCENES, TEST_SCENES = 1600, 400
STEPS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "above": (0.0, -1.0), "below": (0.0, 1.0)}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_HELD_OUT = 10  # pairs of colour and shape that training never shows


@dataclass(frozen=True)
class Thing:
    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Things of different colours, and where each but the first lies: (direction, the number of another thing).

    ("left", 0) of thing 1: it is left of thing 0.
    """

    things: tuple[Thing, ...]
    places: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        parts = [f"{thing.colour}_{thing.shape}" for thing in self.things]
        steps = [f"{direction}_{other}" for direction, other in self.places]
        return ".".join([*parts, *steps])

    @property
    def relations(self) -> list[tuple[Thing, str, Thing]]:
        """(a, "left", b): a is left of b."""
        return [
            (self.things[i], direction, self.things[other]) for i, (direction, other) in enumerate(self.places, start=1)
        ]

    def centres(self, distance: float) -> list[tuple[float, float]]:
        """Of all things, the first at (0, 0), neighbours `distance` apart."""
        found = [(0.0, 0.0)]
        for direction, other in self.places:
            dx, dy = STEPS[direction]
            found.append((found[other][0] + distance * dx, found[other][1] + distance * dy))
        return found


def held_out_pairs() -> set[tuple[str, str]]:
    """The pairs of colour and shape that training never shows; each of their colours and shapes it does show."""
    pairs = list(product(PALETTE, SHAPES))
    np.random.default_rng([2, 41]).shuffle(pairs)
    found: set[tuple[str, str]] = set()
    for colour, shape in pairs:
        few = all(sum(value in pair for pair in found) < 2 for value in (colour, shape))
        if few and len(found) < _HELD_OUT:
            found.add((colour, shape))
    return found


def make_scenes() -> tuple[list[Scene], list[Scene]]:
    """The scenes of training, and of test: each of the latter has a pair of colour and shape unseen in training."""
    rng = np.random.default_rng([2, 42])
    unseen = held_out_pairs()
    train, test = dict[str, Scene](), dict[str, Scene]()
    for scene in _scenes(rng):
        has_unseen = any((thing.colour, thing.shape) in unseen for thing in scene.things)
        found, wanted = (test, TEST_SCENES) if has_unseen else (train, TRAIN_SCENES)
        if len(found) < wanted:
            found.setdefault(scene.name, scene)
        if len(train) == TRAIN_SCENES and len(test) == TEST_SCENES:
            break
    return list(train.values()), list(test.values())


def _scenes(rng: np.random.Generator) -> Iterator[Scene]:
    colours, directions = list(PALETTE), list(STEPS)
    while True:
        count = 2 if rng.random() < 0.55 else 3
        chosen = rng.choice(colours, count, replace=False)
        things = tuple(Thing(str(colour), SHAPES[int(rng.integers(len(SHAPES)))]) for colour in chosen)
        first = directions[int(rng.integers(4))]
        places = [(first, 0)]
        if count == 3:  # about a corner, so that no two are both beside and above one another
            across = ("above", "below") if first in ("left", "right") else ("left", "right")
            places.append((across[int(rng.integers(2))], int(rng.integers(2))))
        yield Scene(things, tuple(places))
