"""The species of `birds-2`: what all birds of one class have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.sources.birds import COLOURS
from datasets.sources.pairs_of_colours import species_by_pairs

__all__ = ["BEAK_COLOURS", "LIGHT", "MARKINGS", "POSES", "TEST_SPECIES", "TRAIN_SPECIES", "Species", "make_species"]

BEAK_COLOURS = ("orange", "yellow", "black", "gray", "red")
LIGHT = ("white", "yellow")  # of wing bars and eyerings
MARKINGS = ("plain", "streaked", "spotted", "banded")
POSES = ("perched", "standing", "pecking", "flying", "swimming")
TRAIN_SPECIES, TEST_SPECIES = 300, 100


@dataclass(frozen=True)
class Species:
    """The attributes of a class; colours are keys of `birds.COLOURS`, an empty one means that there is none."""

    body: str
    wing: str
    breast: str
    marking: str  # of the breast: one of MARKINGS
    marks: str  # the colour of those marks
    crown: str
    beak: str
    beak_length: str  # short or long
    size: str  # small or large
    wing_bars: str
    eyering: str

    @property
    def name(self) -> str:
        marks = f"_{self.marking}_{self.marks}" if self.marks else ""
        light = f"_{self.wing_bars}_barred" * bool(self.wing_bars) + f"_{self.eyering}_eyed" * bool(self.eyering)
        words = f"{self.size}_{self.body}_{self.wing}_winged_{self.crown}_crowned_{self.breast}{marks}_breasted{light}"
        return f"{words}_{self.beak_length}_{self.beak}_billed".title()


def make_species(seed: int = 0) -> tuple[list[Species], list[Species]]:
    """The 300 species of training and the 100 of test.

    No pair of body and wing colour of a test species is that of a training species, while each of the two colours is
    seen there on that part.
    """
    rng = np.random.default_rng([seed, 21])
    return species_by_pairs(rng, COLOURS, TRAIN_SPECIES, TEST_SPECIES, lambda body, wing: _species(body, wing, rng))


def _species(body: str, wing: str, rng: np.random.Generator) -> Species:
    def one(values: tuple[str, ...]) -> str:
        return values[int(rng.integers(len(values)))]

    colours = tuple(COLOURS)
    # As real birds do, many have a breast of the body's colour and a crown of the wing's.
    breast = one(colours) if rng.random() < 0.6 else body
    crown = one(colours) if rng.random() < 0.6 else wing
    marking = "plain" if rng.random() < 0.5 else one(MARKINGS[1:])
    dark_or_light = ("black", "brown") if breast not in ("black", "brown") else ("white", "yellow")
    light = tuple(colour for colour in LIGHT if colour != wing)
    return Species(
        body=body,
        wing=wing,
        breast=breast,
        marking=marking,
        marks="" if marking == "plain" else one(dark_or_light),
        crown=crown,
        beak=one(BEAK_COLOURS),
        beak_length=one(("short", "long")),
        size=one(("small", "large")),
        wing_bars=one(light) if rng.random() < 0.4 else "",
        eyering=one(LIGHT) if rng.random() < 0.35 else "",
    )
