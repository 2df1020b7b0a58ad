"""sweep.json: what a sweep is of, where it stands, and what it may cost."""

from __future__ import annotations

import time

from pydantic import BaseModel, ConfigDict, ValidationError

from datasets.documents import first_problem
from dmgan.config import ConfigError
from dmgan.runs.run import Run
from tune.results import RUNNING, load_trials

__all__ = ["Budget", "Caps", "SweepState", "read_state"]

SWEEP = "sweep.json"
_BUDGET_SECONDS = 5.0  # between looks at what has been used


class Caps(BaseModel):
    """What a sweep may cost from this start on; None: any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_hours: float | None = None
    max_gpu_hours: float | None = None
    since: float = 0.0  # seconds since 1970


class SweepState(BaseModel):
    """What sweep.json holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: dict[str, dict[str, list[object] | dict[str, dict[str, object]]]]  # as tune.space parses it
    trials: int  # planned
    objective: str
    state: str = RUNNING
    started: float  # seconds since 1970
    caps: Caps = Caps()
    captions: list[str] = []  # of the report's images

    def save(self, sweep: Run) -> None:
        sweep.write_json(SWEEP, self.model_dump(mode="json"))


def read_state(sweep: Run) -> SweepState:
    """Raises ConfigError where sweep.json is damaged or of another version."""
    try:
        return SweepState.model_validate(sweep.read_json(SWEEP))
    except ValidationError as error:
        raise ConfigError(f"{sweep.path(SWEEP)}: damaged or of another version: {first_problem(error)}") from None


class Budget:
    """Whether a sweep has cost what it may. Looks at what trial.json says, which outlives the process."""

    def __init__(self, sweep: Run, caps: Caps) -> None:
        self._sweep, self._caps = sweep, caps
        self._looked, self._found = 0.0, ""

    def spent(self) -> str:
        """What has been used up, or nothing; a few seconds old."""
        if not self._found and time.monotonic() - self._looked > _BUDGET_SECONDS:
            self._found, self._looked = self._look(), time.monotonic()
        return self._found

    def _look(self) -> str:
        hours, gpu_hours = self._caps.max_hours, self._caps.max_gpu_hours
        if hours is not None and time.time() - self._caps.since > 3600 * hours:
            return f"stopped: tune.max_hours={hours:g} is used up"
        if gpu_hours is not None and sum(trial.cost() for trial in load_trials(self._sweep)) >= gpu_hours:
            return f"stopped: tune.max_gpu_hours={gpu_hours:g} is used up"
        return ""
