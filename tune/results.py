"""What a sweep leaves in storage, and reading it: of a finished sweep as of one that is running.

STORAGE/NAME/sweep.json            the space, what is best, state
STORAGE/NAME/trials/ID/            a run each, with trial.json: values, state, scores at rungs, cost
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import log

from pydantic import BaseModel, ConfigDict, ValidationError

from datasets import storage
from datasets.documents import first_problem
from dmgan.config import ConfigError, Tune
from dmgan.evaluation.metrics import Score, Value, metrics
from dmgan.runs.run import Run

__all__ = [
    "FAILED",
    "FINISHED",
    "LEFT",
    "PAIR",
    "RUNNING",
    "STOPPED",
    "Change",
    "Rung",
    "Trial",
    "check_objective",
    "load_trial",
    "load_trials",
    "minimised",
    "rungs",
    "score_named",
    "trial_run",
]

PAIR = "pair"  # of FID and R-precision
RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped early", "failed"
LEFT = "not finished"  # the sweep ended before; it goes on if the sweep does


class Rung(BaseModel):
    """A trial's scores at a step, the means where a score has a deviation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    score: float  # what the sweep minimises
    scores: dict[str, float]
    hours: float  # of workers, until then


class Change(BaseModel):
    """PBT: at `step` the trial went on from the weights of another one with new values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    origin: str  # that trial
    values: dict[str, object]


class Trial(BaseModel):
    """What trial.json holds."""

    model_config = ConfigDict(extra="forbid")

    id: str
    planned: dict[str, object]  # values of the keys searched over, as it was begun
    values: dict[str, object]  # as they are: PBT changes them
    state: str = RUNNING
    reason: str = ""  # of failing or stopping, one line
    started: float = 0.0  # seconds since 1970
    hours: float = 0.0  # of workers: GPU hours where they have GPUs, else hours of cores
    busy_since: float = 0.0  # when the work began that `hours` has not yet; 0: none is done
    workers: int = 1
    gpu: bool = False
    rungs: list[Rung] = []
    changes: list[Change] = []

    @property
    def step(self) -> int:
        return self.rungs[-1].step if self.rungs else 0

    @property
    def score(self) -> float | None:
        """At the last rung; smaller is better."""
        return self.rungs[-1].score if self.rungs else None

    @property
    def is_open(self) -> bool:
        """Whether a sweep that goes on has to go on with it."""
        return self.state in (RUNNING, LEFT)

    def last(self, name: str) -> float | None:
        """A score at the last rung."""
        return self.rungs[-1].scores.get(name) if self.rungs else None

    def work_began(self) -> None:
        self.busy_since = time.time()

    def work_ended(self) -> None:
        self.hours, self.busy_since = self.cost(), 0.0

    def cost(self) -> float:
        """Worker hours, with those of work that is being done."""
        now = (
            (time.time() - self.busy_since) * self.workers / 3600 if self.busy_since and self.state == RUNNING else 0.0
        )
        return self.hours + now

    def save(self, sweep: Run) -> None:
        trial_run(sweep, self.id).write_json("trial.json", self.model_dump())


def trial_run(sweep: Run, trial_id: str) -> Run:
    return Run(sweep.path("trials", trial_id))


def load_trial(sweep: Run, trial_id: str) -> Trial | None:
    run = trial_run(sweep, trial_id)
    if not run.has("trial.json"):
        return None
    try:
        return Trial.model_validate(run.read_json("trial.json"))
    except ValidationError as error:
        raise ConfigError(f"{run.path('trial.json')}: damaged or of another version: {first_problem(error)}") from None


def load_trials(sweep: Run) -> list[Trial]:
    """All trials in the order in which they were begun."""
    names = storage.list_folders(sweep.path("trials")) if sweep.has("trials") else []
    found = [trial for name in names if (trial := load_trial(sweep, name)) is not None]
    return sorted(found, key=lambda trial: (trial.started, trial.id))


def rungs(scheduler: str, options: Tune, steps: int) -> list[int]:
    """The steps at which trials are evaluated; the last is the end.

    Apart by a factor for ASHA, evenly for PBT, which changes values at each.
    """
    if scheduler == "none" or options.first_rung >= steps:
        return [steps]
    found, step = [], options.first_rung
    while step < steps:
        found.append(step)
        step = step * options.reduction if scheduler == "asha" else step + options.first_rung
    return [*found, steps]


def score_named(name: str) -> Score | None:
    """The registered score of that name."""
    return next((score for metric in metrics.values() for score in metric.scores if score.name == name), None)


def check_objective(options: Tune) -> None:
    """Raise ConfigError where `tune.objective` names no score."""
    if options.objective != PAIR and score_named(options.objective) is None:
        known = [score.name for metric in metrics.values() for score in metric.scores]
        raise ConfigError(
            f"tune.objective={options.objective}: no metric gives it; expected {', '.join(known)} or {PAIR} (`plugins` "
            "names modules that register more)"
        )


def minimised(options: Tune, values: Mapping[str, Value]) -> float:
    """What the sweep minimises, of an evaluation's scores. Raises ConfigError where that has no such score."""
    if options.objective == PAIR:
        fid, precision = (score_named(name).of(values) for name in ("fid", "r_precision"))  # type: ignore[union-attr]
        return options.fid_weight * log(max(fid, 1e-6)) - (1 - options.fid_weight) * log(max(precision, 1e-6))
    score = score_named(options.objective)
    if score is None or score.name not in values:
        raise ConfigError(
            f"tune.objective={options.objective}: not a score of the evaluation, which has {', '.join(values)}"
        )
    return score.minimised(values)
