"""evaluation.json: what it holds, and reading it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from datasets import storage
from datasets.documents import first_problem
from dmgan.config import ConfigError
from dmgan.evaluation.metrics import Score, Value, scores_of
from dmgan.runs.run import Run

__all__ = ["ClassScore", "ConfusionTable", "Evaluation", "Extreme", "evaluations_of", "read_evaluation"]

EVALUATION = "evaluation.json"


class Extreme(BaseModel):
    """An image that matches its caption very well or very badly."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: int
    caption: str
    score: float


class ClassScore(BaseModel):
    """R-precision of one class."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    class_name: str
    images: int
    r_precision: float


class ConfusionTable(BaseModel):
    """How often what captions name as each of `labels` (rows) is seen as each of them (columns)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    labels: list[str]
    counts: list[list[int]]


class Evaluation(BaseModel):
    """The scores of one generator, and all that they depend on. Scores stand beside the other keys, by their names."""

    model_config = ConfigDict(extra="allow", frozen=True)

    images: int
    features: str
    step: int
    weights: str
    generator_sha256: str
    checksum: str  # of all that the scores depend on
    data: str
    best: list[Extreme]
    worst: list[Extreme]
    r_precision_by_class: list[ClassScore]
    protocol: dict[str, Any]
    real_scores: dict[str, float | dict[str, float]] = {}  # what the real test images get by the same measure
    confusions: dict[str, ConfusionTable] = {}  # by attribute, of the generated images
    caveats: list[str] = []  # what whoever reads the scores must know
    seconds: float

    @model_validator(mode="after")
    def _has_scores(self) -> Evaluation:
        for name, value in self.values.items():
            numbers = value.values() if isinstance(value, dict) else [value]
            if not all(isinstance(number, int | float) for number in numbers):
                raise ValueError(f"{name}: expected a number, or a mean and a deviation")
        if "fid" not in self.values or "r_precision" not in self.values:
            raise ValueError("has no FID or R-precision")
        return self

    @property
    def values(self) -> dict[str, Value]:
        """The scores' values by name."""
        return dict(self.model_extra or {})

    @property
    def scores(self) -> list[Score]:
        return scores_of(self.values)

    def ceiling(self, score: Score) -> str:
        """What the real test images get by the same measure, as people read it; "" of scores that they have not."""
        return score.shown(self.real_scores) if score.name in self.real_scores else ""

    @property
    def name(self) -> str:
        """Of its files in RUN/evaluations/."""
        return f"step_{self.step:08d}-{self.weights}"


def read_evaluation(run: Run, name: str = EVALUATION) -> Evaluation | None:
    """An evaluation of the run, None where there is none. Raises ConfigError for one damaged or of another version."""
    if not run.has(name):
        return None
    try:
        return Evaluation.model_validate(run.read_json(name))
    except ValidationError as error:
        raise ConfigError(
            f"{run.path(name)}: damaged or of another version ({first_problem(error)}); run `python -m "
            "dmgan.launch evaluate` again"
        ) from None


def evaluations_of(run: Run) -> list[Evaluation]:
    """All evaluations of the run, by step."""
    names = storage.list_sizes(run.path("evaluations")) if run.has("evaluations") else {}
    found = [read_evaluation(run, f"evaluations/{name}") for name in names if name.endswith(".json")]
    return sorted((evaluation for evaluation in found if evaluation is not None), key=lambda e: e.step)
