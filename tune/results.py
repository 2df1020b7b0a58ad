"""What a sweep leaves in storage, and reading it: of a finished sweep as of one that is running.

STORAGE/NAME/sweep.json            the space, what is best, state
STORAGE/NAME/trials/ID/            a run each, with trial.json: values, state, scores at rungs, cost
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import log
from typing import Any

from datasets import storage
from dmgan.config import Tune
from dmgan.run import Run

__all__ = ["FAILED", "FINISHED", "RUNNING", "STOPPED", "Trial", "load_trials", "rungs", "score_of", "trial_run"]

RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped early", "failed"


@dataclass
class Trial:
    id: str
    values: dict[str, Any]  # of the keys searched over
    state: str = RUNNING
    reason: str = ""  # of failing or stopping, one line
    started: float = 0.0  # seconds since 1970
    hours: float = 0.0  # of workers: GPU hours where they have GPUs, else hours of cores
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

    def last(self, name: str) -> float | None:
        return self.rungs[-1][name] if self.rungs else None

    def save(self, sweep: Run) -> None:
        trial_run(sweep, self.id).write_json("trial.json", asdict(self))


def trial_run(sweep: Run, trial_id: str) -> Run:
    return Run(sweep.path("trials", trial_id))


def load_trial(sweep: Run, trial_id: str) -> Trial | None:
    run = trial_run(sweep, trial_id)
    return Trial(**run.read_json("trial.json")) if run.has("trial.json") else None


def load_trials(sweep: Run) -> list[Trial]:
    """All trials in the order in which they were started."""
    names = storage.list_folders(sweep.path("trials")) if sweep.has("trials") else []
    found = [trial for name in names if (trial := load_trial(sweep, name)) is not None]
    return sorted(found, key=lambda trial: (trial.started, trial.id))


def rungs(options: Tune, steps: int) -> list[int]:
    """The steps at which trials are evaluated; the last is the end.

    Apart by a factor for ASHA, evenly for PBT, which changes values at each.
    """
    if options.scheduler == "none" or options.first_rung >= steps:
        return [steps]
    found, step = [], options.first_rung
    while step < steps:
        found.append(step)
        step = step * options.reduction if options.scheduler == "asha" else step + options.first_rung
    return [*found, steps]


def score_of(options: Tune, evaluation: dict[str, Any]) -> float:
    """What the sweep minimises, of an evaluation.json."""
    fid, precision = float(evaluation["fid"]), float(evaluation["r_precision"]["mean"])
    if options.objective == "fid":
        return fid
    if options.objective == "r_precision":
        return 1 - precision
    return options.fid_weight * log(max(fid, 1e-6)) - (1 - options.fid_weight) * log(max(precision, 1e-6))
