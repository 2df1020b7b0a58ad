"""A sweep's report: report.html in itself, report.md, trials.csv and best.yaml. Of a sweep that is running, too."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from datasets import storage
from dmgan.config import Config, ConfigError, with_values
from dmgan.evaluation.metrics import Score
from dmgan.evaluation.protocol import differences
from dmgan.evaluation.record import read_evaluation
from dmgan.pixels import to_array
from dmgan.report.kit import figure, picture, render
from dmgan.runs.run import Run
from dmgan.runs.samples import FixedSamples
from tune.report import figures
from tune.results import RUNNING, Trial, load_trials, score_named, trial_run
from tune.space import Space, parse_space, scheduler_of
from tune.state import SweepState, read_state

__all__ = ["write_report"]

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Sweep:
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


def write_report(sweep: Run) -> str:
    """Write report.html, report.md, trials.csv and, where a trial has a score, best.yaml; returns where the page is."""
    config, state = sweep.read_config(), read_state(sweep)
    space = parse_space(state.space, config, sweep.path("sweep.json"))
    whole = _Sweep(sweep, state, config, space, load_trials(sweep))
    rows = _rows(whole)
    storage.write_bytes(sweep.path("trials.csv"), pd.DataFrame(rows).to_csv(index=False).encode())
    storage.write_bytes(sweep.path("report.md"), _markdown(whole, rows).encode())
    if whole.scored:
        storage.write_bytes(sweep.path("best.yaml"), _best_yaml(whole).encode())
    storage.write_bytes(sweep.path("report.html"), render("sweep.html", _page(whole, rows), [_TEMPLATES]))
    return sweep.path("report.html")


def _rows(sweep: _Sweep) -> list[dict[str, object]]:
    """The table of trials, in the order of their start."""
    return [
        {
            "trial": sweep.label(trial),
            "state": trial.state,
            **{key: trial.values.get(key) for key in sweep.space.keys},
            "step": trial.step,
            "score": trial.score,
            **{score.label: trial.last(score.name) for score in sweep.scores},
            "hours": round(trial.cost(), 4),
            "why": trial.reason,
            "run": f"trials/{trial.id}",
        }
        for trial in sweep.trials
    ]


def _best_yaml(sweep: _Sweep) -> str:
    """The best trial's configuration as a run of its own: --config best.yaml."""
    best = sweep.scored[0]
    config = trial_run(sweep.run, best.id).read_config()
    head = f"# {sweep.label(best)} of sweep {sweep.run.name}: {_values_text(best)}\n"
    return head + config.to_yaml()


def _values_text(trial: Trial) -> str:
    return ", ".join(f"{key}={_short(value)}" for key, value in trial.values.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _facts(sweep: _Sweep) -> list[tuple[str, str]]:
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


def _notes(sweep: _Sweep) -> list[str]:
    """What a reader must know before comparing."""
    options = sweep.config.tune
    objective = score_named(options.objective)
    if objective is None:
        best = f"the smallest {options.fid_weight:g}·ln FID − {1 - options.fid_weight:g}·ln R-precision"
    else:
        best = f"the {'smallest' if objective.better == 'lower' else 'largest'} {objective.label}"
    notes = [
        f"Best is {best} at the last step that any trial reached. Sweep {sweep.state.state}; "
        f"{sweep.config.train.workers} worker(s) a trial; search {_method(sweep)}.",
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


def _method(sweep: _Sweep) -> str:
    options = sweep.config.tune
    search = "grid" if sweep.space.has_grid else options.search or "optuna"
    kind = scheduler_of(sweep.space, options)
    scheduler = {"asha": "ASHA", "pbt": "PBT", "none": "no early stopping"}[kind]
    return f"{search}, {scheduler}, seed {options.seed}"


def _page(sweep: _Sweep, rows: list[dict[str, object]]) -> dict[str, object]:
    """What `templates/sweep.html` needs."""
    best = sweep.scored[0] if sweep.scored else None
    return {
        "title": f"DM-GAN sweep {sweep.run.name}",
        "name": sweep.run.name,
        "facts": _facts(sweep),
        "notes": _notes(sweep),
        "best": None
        if best is None
        else {
            "label": sweep.label(best),
            "chosen": [(key, _short(value)) for key, value in best.values.items()],
            "file": shlex.quote(sweep.run.path("best.yaml")),
            "yaml": _best_yaml(sweep),
        },
        "rows": rows,
        "sort_key": _sort_key,
        "short": _short,
        "plots": _plots(sweep) if sweep.scored else None,
        "seeds": _over_seeds(sweep),
        "samples": _samples(sweep),
    }


def _sort_key(column: str, value: Any) -> str:
    """What a column is sorted by."""
    return str(value).lstrip("#") if column == "trial" else "" if value is None else str(value)


def _plots(sweep: _Sweep) -> dict[str, object]:
    step, best = sweep.common_step, sweep.label(sweep.scored[0])
    table = sweep.table(step)
    curves = {sweep.label(trial): trial.rungs for trial in sweep.trials if trial.rungs}
    fid, precision = (score for score in sweep.scores if score.name in ("fid", "r_precision"))
    shares = figures.importances(table, sweep.space.parameters)
    return {
        "step": step,
        "trials": len(table),
        "curves": [figure(figures.learning_curves(curves, score, best)) for score in sweep.main_scores],
        "parallel": figure(figures.parallel(table, sweep.space.parameters, sweep.main_scores)),
        "pareto": figure(figures.pareto(table, fid, precision)),
        "importance": figure(figures.importance(shares)) if shares else None,
        "effects": [
            figure(figures.effect(table, parameter, score))
            for parameter in sweep.space.parameters
            for score in sweep.main_scores
            if parameter.key != "train.seed"
        ],
    }


def _over_seeds(sweep: _Sweep) -> pd.DataFrame | None:
    keys = [key for key in sweep.space.keys if key != "train.seed"]
    scored = sweep.scored
    if "train.seed" not in sweep.space.keys or not keys or not scored:
        return None
    table = sweep.table(scored[0].step)
    rows = []
    table["group"] = [json.dumps([row[key] for key in keys]) for row in table.to_dict("records")]
    for _, part in table.groupby("group", sort=False):
        row = {key: part[key].iloc[0] for key in keys} | {"seeds": len(part)}
        for score in sweep.main_scores:
            factor = 100 if score.percent else 1
            values = factor * part[score.name].astype(float)
            label = f"{score.label} {score.arrow}" + (" (%)" if score.percent else "")
            row[label] = f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" if len(part) > 1 else f"{values.mean():.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


def _samples(sweep: _Sweep) -> dict[str, object] | None:
    """The best, the median and the worst trial on the same captions and noise."""
    scored = [trial for trial in sweep.scored if trial_run(sweep.run, trial.id).has("generator.json")]
    if not scored:
        return None
    chosen = {"best": scored[0], "median": scored[len(scored) // 2], "worst": scored[-1]}
    columns = {}
    for name, trial in chosen.items():
        try:
            columns[f"{name}: {sweep.label(trial)}, step {trial.step}"] = _images(sweep, trial)
        except (ConfigError, storage.StorageError):
            if sweep.state.state != RUNNING:
                raise
            return None  # a trial that is running replaces its files
    captions = next(iter(columns.values()))[0]
    rows = [
        (caption, [picture(images[row], caption) for _, images in columns.values()])
        for row, caption in enumerate(captions)
    ]
    return {"columns": list(columns), "rows": rows}


def _images(sweep: _Sweep, trial: Trial) -> tuple[list[str], Any]:
    run = trial_run(sweep.run, trial.id)
    config = with_values(run.read_config(), {"train.seed": 0})  # the noise of all
    # The captions were noted at the start: the bucket need not be there for the report.
    samples = FixedSamples(run.load_encoders(config), run.read_tokenizer(config.model), sweep.state.captions, config)
    return samples.captions, to_array(samples.output(run.load_generator()).images[-1])


def _markdown(sweep: _Sweep, rows: list[dict[str, object]]) -> str:
    lines = [f"# Sweep {sweep.run.name}", ""]
    lines += [f"- {text}: {value}" for value, text in _facts(sweep)]
    lines += ["", *(note + "\n" for note in _notes(sweep))]
    if sweep.scored:
        best = sweep.scored[0]
        lines += [
            f"## Best: {sweep.label(best)}",
            "",
            f"    python -m dmgan.launch --config {shlex.quote(sweep.run.path('best.yaml'))}",
            "",
        ]
        lines += [f"- `{key}`: {_short(value)}" for key, value in best.values.items()]
    if rows:
        lines += ["", "## Trials", "", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
        lines += ["| " + " | ".join(_short(value).replace("|", "/") for value in row.values()) + " |" for row in rows]
    table = _over_seeds(sweep)
    if table is not None:
        lines += [
            "",
            "## Over seeds",
            "",
            "| " + " | ".join(map(str, table.columns)) + " |",
            "|" + "---|" * len(table.columns),
        ]
        lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines) + "\n"
