"""What a metric is: sums of parts of the images that add up, and scores of the whole.

A metric registers itself under a name (`metrics.register`). The evaluation, evaluation.json, the reports' tables and a
sweep's objective read the registry; docs/extending.md shows how to add one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from datasets.registry import Registry
from dmgan.config import Evaluate

__all__ = [
    "Confusion",
    "Metric",
    "Numbers",
    "Part",
    "Ranked",
    "Score",
    "Settings",
    "Sums",
    "Value",
    "metrics",
    "scores_of",
]

Sums = dict[str, np.ndarray]  # what a part contributes, by name
Value = float | dict[str, float]  # a number, or {"mean": …, "std": …}


@dataclass(frozen=True)
class Numbers:
    """How much a protocol asks for."""

    images: int
    distractors: int  # mismatching captions an image, of R-precision
    folds: int  # of R-precision
    splits: int  # of IS


@dataclass(frozen=True)
class Settings:
    """What of an evaluation metrics depend on."""

    options: Evaluate
    numbers: Numbers
    dataset: str  # the name in the manifest

    @property
    def judges(self) -> tuple[str, ...]:
        """Who ranks captions: damsm, the run's own encoders, and whom the configuration asks for."""
        asked = {"judge": self.options.judge, "clip": self.options.clip}
        return ("damsm", *(name for name, value in asked.items() if value is not None))

    @property
    def real_images(self) -> bool:
        """Whether features of the real images are there, and not their moments alone."""
        return self.options.real_statistics is None


@dataclass(frozen=True)
class Ranked:
    """How a judge (`dmgan.evaluation.judges`) ranks an image's own caption among mismatching ones."""

    matching: np.ndarray  # (n,) cosine of the image's code with its caption's sentence
    found: np.ndarray  # (n,) whether no mismatching caption's cosine is as large


@dataclass(frozen=True)
class Part:
    """A part of the generated or of the real images, n of them, with what was computed of all."""

    indices: np.ndarray  # (n,) of the images among `total`
    total: int  # generated images, or real ones
    images: Tensor  # uint8 (n, 3, H, W)
    captions: list[str]
    features: Tensor  # (n, D), what FID is on
    logits: Tensor  # (n, K), what IS is on
    ranked: Mapping[str, Ranked]  # by judge: damsm, the run's own encoders, and those that the evaluation asks for


@dataclass(frozen=True)
class Confusion:
    """How often a thing that captions name one of `labels` is seen as each of them."""

    labels: tuple[str, ...]
    counts: np.ndarray  # (L, L) int64, rows as it is named, columns as it is seen


@dataclass(frozen=True)
class Score:
    """A figure that a metric gives: its key in evaluation.json, and how people read it."""

    name: str
    label: str
    unit: str
    better: Literal["lower", "higher"]
    percent: bool = False  # a share, 0 … 1, shown as a percentage
    digits: int = 2
    chance: float | None = None  # what guessing gives

    def of(self, evaluation: Mapping[str, Value]) -> float:
        """The score in an evaluation: its mean over parts, where it has one. Raises KeyError."""
        value = evaluation[self.name]
        return float(value["mean"] if isinstance(value, Mapping) else value)

    def deviation(self, evaluation: Mapping[str, Value]) -> float | None:
        """Its standard deviation over parts, where it has one."""
        value = evaluation[self.name]
        return float(value["std"]) if isinstance(value, Mapping) else None

    def shown(self, evaluation: Mapping[str, Value]) -> str:
        factor, unit = (100, " %") if self.percent else (1, "")
        deviation = self.deviation(evaluation)
        spread = "" if deviation is None else f" ± {factor * deviation:.{self.digits}f}"
        return f"{factor * self.of(evaluation):.{self.digits}f}{spread}{unit}"

    @property
    def arrow(self) -> str:
        return "↓" if self.better == "lower" else "↑"

    @property
    def axis(self) -> str:
        """For an axis of a figure."""
        return f"{self.label} ({self.unit}, {self.arrow})"

    def minimised(self, evaluation: Mapping[str, Value]) -> float:
        """What is smaller the better the evaluation is."""
        return self.of(evaluation) if self.better == "lower" else 1 - self.of(evaluation)


class Metric(ABC):
    """Sums of a part, how they add, and the scores of the whole."""

    scores: tuple[Score, ...]

    def wanted(self, settings: Settings) -> bool:
        """Whether an evaluation with these settings has it."""
        return True

    @abstractmethod
    def generated(self, part: Part, settings: Settings) -> Sums:
        """What a part of the generated images contributes."""

    def caveats(self, generated: Sums, real: Sums, settings: Settings) -> list[str]:
        """What whoever reads the scores must know, one line each."""
        return []

    def real(self, part: Part, settings: Settings) -> Sums:
        """What a part of the real images contributes."""
        return {}

    def add(self, one: Sums, other: Sums) -> Sums:
        """The sums of two parts that follow one another."""
        return {name: one[name] + other[name] for name in one}

    @abstractmethod
    def result(self, generated: Sums, real: Sums, settings: Settings) -> dict[str, Value]:
        """The whole's scores by name; `real` is what `real` gave of all real images, or moments that were given."""

    def ceiling(self, real: Sums, settings: Settings) -> dict[str, Value]:
        """What the real images themselves get, by the scores' names; nothing of scores that compare with them."""
        return {}

    def confusions(self, sums: Sums, settings: Settings) -> dict[str, Confusion]:
        """What is taken for what, by the name of the attribute."""
        return {}

    def protocol(self, settings: Settings) -> dict[str, object]:
        """What the protocol is to say of it, by name."""
        return {}


metrics: Registry[Metric] = Registry("metric", "tune.objective")


def scores_of(evaluation: Mapping[str, object]) -> list[Score]:
    """The scores that an evaluation has, in the order of registration."""
    return [score for metric in metrics.values() for score in metric.scores if score.name in evaluation]
