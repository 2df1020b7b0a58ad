"""What guessing gives, and whether a generator does better."""

from __future__ import annotations

from math import sqrt

from datasets.pages.kit import percent
from dmgan.evaluation.metrics import Score
from dmgan.evaluation.record import Evaluation

__all__ = ["chance_of", "no_better_than_chance"]

_DEVIATIONS = 2  # of guessing, that a score has to be above it


def chance_of(score: Score, evaluation: Evaluation) -> float | None:
    """The share, 0 … 1, that guessing gets; None where guessing has none."""
    if score.name.endswith("r_precision"):  # of every judge
        return 1 / (int(evaluation.protocol["r_precision"]["distractors"]) + 1)
    return score.chance


def no_better_than_chance(evaluation: Evaluation) -> list[str]:
    """A line for every score that guessing would reach: within two standard deviations of as many guesses as images."""
    lines = []
    for score in evaluation.scores:
        chance = chance_of(score, evaluation)
        if chance is None:
            continue
        margin = _DEVIATIONS * sqrt(chance * (1 - chance) / max(evaluation.images, 1))
        value = score.of(evaluation.values)
        if value <= chance + margin:
            lines.append(
                f"{score.label} of {percent(value)} is no better than chance: guessing gets {percent(chance)} ± "
                f"{percent(margin)} of {evaluation.images:,} images"
            )
    return lines
