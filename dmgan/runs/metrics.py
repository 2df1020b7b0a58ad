"""A line of metrics.jsonl, as it is written and read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["MetricsLine", "SkippedSamples"]


class SkippedSamples(BaseModel):
    """Samples that could not be read since the last line and were replaced, and the first reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: int
    reason: str


class MetricsLine(BaseModel):
    """What training says of itself after `step` steps."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    stage: str  # pretrain or train
    step: int
    epoch: float
    images: int  # given to training so far
    images_per_second: float  # all workers together, since the last line
    losses: dict[str, float]  # as minimised, mean over workers
    statistics: dict[str, float] = {}  # accuracy_i, diversity: means since the last line
    learning_rates: dict[str, float] = {}  # by engine, of the last step
    warnings: list[str] = []
    skipped: SkippedSamples | None = None
