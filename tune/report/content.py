"""What both forms of a sweep's report say: figures, notes, the table over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from dmgan.config import Config
from dmgan.evaluation.chance import no_better_than_chance
from dmgan.evaluation.metrics import Score
from dmgan.evaluation.protocol import differences
from dmgan.evaluation.record import read_evaluation
from dmgan.runs.run import Run
from tune.results import RUNNING, Trial, score_named, trial_run
from tune.space import Space, scheduler_of
from tune.state import SweepState

__all__ = ["WholeSweep", "facts", "method", "notes", "short", "values_text", "warnings"]


_INDEPENDENT = (
    *("judge_r_precision", "clip_r_precision", "attribute_accuracy", "colour_accuracy"),
    *("object_accuracy", "object_colours", "relation_accuracy"),
)


@dataclass(frozen=True)
class WholeSweep:
    """All of a sweep that its report is made from."""

    run: Run
    state: SweepState
    config: Config
    space: Space
    trials: list[Trial]

    @property
    def scored(self) -> list[Trial]:
        """The trials with a score, the best first: of those that got farthest, then of those that got less far."""
        found = [trial for trial in self.trials if trial.score is not None]
        return sorted(found, key=lambda trial: (-trial.step, trial.score))

    @property
    def scores(self) -> list[Score]:
        """Those that any trial has: FID and R-precision first, then in the order of registration."""
        there = {name for trial in self.trials for rung in trial.rungs for name in rung.scores}
        first = [name for name in ("fid", "r_precision") if name in there]
        return [score for name in (*first, *sorted(there - set(first))) if (score := score_named(name)) is not None]

    @property
    def main_scores(self) -> list[Score]:
        """FID, R-precision and what the sweep is about."""
        wanted = ("fid", "r_precision", self.config.tune.objective)
        return [score for score in self.scores if score.name in wanted]

    @property
    def compared_scores(self) -> list[Score]:
        """Those, and what no generator can be trained against."""
        wanted = {score.name for score in self.main_scores} | set(_INDEPENDENT)
        return [score for score in self.scores if score.name in wanted]

    def label(self, trial: Trial) -> str:
        return f"#{self.trials.index(trial) + 1}"

    def table(self, step: int) -> pd.DataFrame:
        """The trials that were evaluated at a step, with their scores there."""
        names = [score.name for score in self.scores]
        rows = [
            {"trial": self.label(trial), "score": rung.score, **rung.scores, **trial.values}
            for trial in self.trials
            for rung in trial.rungs
            if rung.step == step
        ]
        table = pd.DataFrame(rows, columns=["trial", "score", *names, *self.space.keys])
        for key in self.space.keys:  # as they were given: pandas would make 1 of a list with 0.5 in it 1.0
            table[key] = pd.Series([row[key] for row in rows], dtype=object, index=table.index)
        return table

    @property
    def common_step(self) -> int:
        """The last step that at least half of the trials reached: scores of other steps do not compare with its."""
        steps = sorted({rung.step for trial in self.scored for rung in trial.rungs})
        return max(step for step in steps if 2 * len(self.table(step)) >= len(self.scored))


def facts(sweep: WholeSweep) -> list[tuple[str, str]]:
    """Headline figures and what they are."""
    states = [trial.state for trial in sweep.trials]
    kind = "GPU hours" if any(trial.gpu for trial in sweep.trials) else "hours of CPU cores"
    facts = [
        (f"{len(sweep.trials)} / {sweep.state.trials}", "trials"),
        (f"{sum(trial.cost() for trial in sweep.trials):.2f}", f"{kind}, training and evaluation of the trials"),
        *((str(states.count(state)), state) for state in sorted(set(states))),
    ]
    if sweep.scored:
        best = sweep.scored[0]
        scores = best.rungs[-1].scores
        shown = [
            (score.shown(scores), f"{score.label} of the best, {sweep.label(best)}")
            for score in sweep.main_scores
            if score.name in scores
        ]
        facts = [*shown, *facts]
    return facts


def warnings(sweep: WholeSweep) -> list[str]:
    """Why the best trial may be no good: what of it guessing would reach."""
    if not sweep.scored:
        return []
    best = sweep.scored[0]
    evaluation = read_evaluation(trial_run(sweep.run, best.id))
    found = no_better_than_chance(evaluation) if evaluation is not None else []
    return [f"The best trial, {sweep.label(best)}, has learned little: {line}." for line in found]


def notes(sweep: WholeSweep) -> list[str]:
    """What a reader must know before comparing."""
    options = sweep.config.tune
    objective = score_named(options.objective)
    if objective is None:
        best = f"the smallest {options.fid_weight:g}·ln FID − {1 - options.fid_weight:g}·ln R-precision"
    else:
        best = f"the {'smallest' if objective.better == 'lower' else 'largest'} {objective.label}"
    notes = [
        f"Best is {best} at the last step that any trial reached. Sweep {sweep.state.state}; "
        f"{sweep.config.train.workers} worker(s) a trial; search {method(sweep)}.",
    ]
    if sweep.state.state == RUNNING:
        notes.append("This sweep was running when the report was written; figures are of what it had by then.")
    evaluations = [e for trial in sweep.scored if (e := read_evaluation(trial_run(sweep.run, trial.id))) is not None]
    for evaluation in evaluations[1:]:
        different = differences(evaluations[0].protocol, evaluation.protocol)
        if different:
            notes.append(
                f"Scores of some trials do not compare strictly, their protocols differ: {'; '.join(different)}."
            )
            break
    if evaluations and evaluations[0].features != "inception-v3":
        notes.append(
            f"FID and IS are on {evaluations[0].features} features, not on Inception-v3: they compare the trials of "
            "this sweep and nothing else."
        )
    return notes


def method(sweep: WholeSweep) -> str:
    options = sweep.config.tune
    search = "grid" if sweep.space.has_grid else options.search or "optuna"
    kind = scheduler_of(sweep.space, options)
    scheduler = {"asha": "ASHA", "pbt": "PBT", "none": "no early stopping"}[kind]
    return f"{search}, {scheduler}, seed {options.seed}"


def values_text(trial: Trial) -> str:
    return ", ".join(f"{key}={short(value)}" for key, value in trial.values.items())


def short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
