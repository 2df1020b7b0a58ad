"""What a sweep leaves in storage, and reading it: of a finished sweep as of one that is running.

STORAGE/NAME/sweep.json            the space, what is best, state
STORAGE/NAME/trials/ID/            a run each, with trial.json: values, state, scores at rungs, cost
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from math import log
from typing import Any

from datasets import storage
from dmgan.config import Tune
from dmgan.runs.run import Run

__all__ = [
    "FAILED",
    "FINISHED",
    "LEFT",
    "RUNNING",
    "STOPPED",
    "Trial",
    "load_trial",
    "load_trials",
    "rungs",
    "score_of",
]
__all__ += ["trial_run"]

RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped early", "failed"
LEFT = "not finished"  # the sweep ended before; it goes on if the sweep does


@dataclass
class Trial:
    id: str
    planned: dict[str, Any]  # values of the keys searched over, as it was begun
    values: dict[str, Any]  # as they are: PBT changes them
    state: str = RUNNING
    reason: str = ""  # of failing or stopping, one line
    started: float = 0.0  # seconds since 1970
    hours: float = 0.0  # of workers: GPU hours where they have GPUs, else hours of cores
    busy_since: float = 0.0  # when the work began that `hours` has not yet; 0: none is done
    workers: int = 1
    gpu: bool = False
    rungs: list[dict[str, Any]] = field(default_factory=list)  # step, score, fid, r_precision, inception_score
    changes: list[dict[str, Any]] = field(default_factory=list)  # pbt: step, from (a trial), values

    @property
    def step(self) -> int:
        return self.rungs[-1]["step"] if self.rungs else 0

    @property
    def score(self) -> float | None:
        """At the last rung; smaller is better."""
        return self.rungs[-1]["score"] if self.rungs else None

    @property
    def is_open(self) -> bool:
        """Whether a sweep that goes on has to go on with it."""
        return self.state in (RUNNING, LEFT)

    def last(self, name: str) -> float | None:
        return self.rungs[-1][name] if self.rungs else None

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
        trial_run(sweep, self.id).write_json("trial.json", asdict(self))


def trial_run(sweep: Run, trial_id: str) -> Run:
    return Run(sweep.path("trials", trial_id))


def load_trial(sweep: Run, trial_id: str) -> Trial | None:
    run = trial_run(sweep, trial_id)
    return Trial(**run.read_json("trial.json")) if run.has("trial.json") else None


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


def score_of(options: Tune, evaluation: dict[str, Any]) -> float:
    """What the sweep minimises, of an evaluation.json."""
    fid, precision = float(evaluation["fid"]), float(evaluation["r_precision"]["mean"])
    if options.objective == "fid":
        return fid
    if options.objective == "r_precision":
        return 1 - precision
    return options.fid_weight * log(max(fid, 1e-6)) - (1 - options.fid_weight) * log(max(precision, 1e-6))
