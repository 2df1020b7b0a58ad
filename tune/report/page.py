"""A sweep's report: report.html in itself, report.md, trials.csv and best.yaml. Of a sweep that is running, too."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from datasets import storage
from datasets.pages.kit import figure, picture, render
from dmgan.config import ConfigError, with_values
from dmgan.pixels import to_array
from dmgan.runs.run import Run
from dmgan.runs.samples import FixedSamples
from tune.report import figures
from tune.report.compared import cost, differences, over_seeds, paired, published
from tune.report.content import WholeSweep, facts, notes, short, values_text, warnings
from tune.report.markdown import markdown
from tune.results import RUNNING, Trial, load_trials, trial_run
from tune.space import parse_space
from tune.state import read_state

__all__ = ["write_report"]

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(sweep: Run) -> str:
    """Write report.html, report.md, trials.csv and, where a trial has a score, best.yaml; returns where the page is."""
    config, state = sweep.read_config(), read_state(sweep)
    space = parse_space(state.space, config, sweep.path("sweep.json"))
    whole = WholeSweep(sweep, state, config, space, load_trials(sweep))
    rows = _rows(whole)
    cells = [{column: _as_text(value) for column, value in row.items()} for row in rows]
    storage.write_bytes(sweep.path("trials.csv"), pd.DataFrame(cells).to_csv(index=False).encode())
    storage.write_bytes(sweep.path("report.md"), markdown(whole, rows).encode())
    if whole.scored:
        storage.write_bytes(sweep.path("best.yaml"), _best_yaml(whole).encode())
    storage.write_bytes(sweep.path("report.html"), render("sweep.html", _page(whole, rows), [_TEMPLATES]))
    return sweep.path("report.html")


def _as_text(value: object) -> object:
    """A cell that spreadsheets read as a text and not as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _rows(sweep: WholeSweep) -> list[dict[str, object]]:
    """The table of trials, in the order of their start; how good they are comes first."""
    first = [score for score in sweep.scores if score.name in ("fid", "r_precision")]
    others = [score for score in sweep.scores if score not in first]
    return [
        {
            "trial": sweep.label(trial),
            "score": trial.score,
            **{score.label: trial.last(score.name) for score in first},
            "state": trial.state,
            "step": trial.step,
            **{key: trial.values.get(key) for key in sweep.space.keys},
            **{score.label: trial.last(score.name) for score in others},
            **cost(sweep, trial),
            "hours": round(trial.cost(), 4),
            "why": trial.reason,
            "run": f"trials/{trial.id}",
        }
        for trial in sweep.trials
    ]


def _best_yaml(sweep: WholeSweep) -> str:
    """The best trial's configuration as a run of its own: --config best.yaml."""
    best = sweep.scored[0]
    config = trial_run(sweep.run, best.id).read_config()
    head = f"# {sweep.label(best)} of sweep {sweep.run.name}: {values_text(best)}\n"
    return head + config.to_yaml()


def _page(sweep: WholeSweep, rows: list[dict[str, object]]) -> dict[str, object]:
    """What `templates/sweep.html` needs."""
    best = sweep.scored[0] if sweep.scored else None
    return {
        "title": f"DM-GAN sweep {sweep.run.name}",
        "name": sweep.run.name,
        "facts": facts(sweep),
        "warnings": warnings(sweep),
        "notes": notes(sweep),
        "best": None
        if best is None
        else {
            "label": sweep.label(best),
            "chosen": [(key, short(value)) for key, value in best.values.items()],
            "file": shlex.quote(sweep.run.path("best.yaml")),
            "yaml": _best_yaml(sweep),
        },
        "rows": rows,
        "sort_key": _sort_key,
        "short": short,
        "plots": _plots(sweep) if sweep.scored else None,
        "tables": [
            (
                "Over seeds",
                "Mean ± standard deviation over the seeds of every configuration; what the real test images get.",
                over_seeds(sweep),
            ),
            (
                "Differences by seed",
                "Of every two configurations, from the one to the other, seed by seed: the mean with its 95 % interval "
                "(Student's t). An interval with 0 in it tells nothing apart.",
                paired(sweep),
            ),
            (
                "Published",
                "Zhu et al. (2019), Table 1, on CUB and COCO: they do not compare with trials on other data.",
                published(sweep),
            ),
        ],
        "samples": _samples(sweep),
    }


def _sort_key(column: str, value: Any) -> str:
    """What a column is sorted by."""
    return str(value).lstrip("#") if column == "trial" else "" if value is None else str(value)


def _plots(sweep: WholeSweep) -> dict[str, object]:
    step, best = sweep.common_step, sweep.label(sweep.scored[0])
    table = sweep.table(step)
    curves = {sweep.label(trial): trial.rungs for trial in sweep.trials if trial.rungs}
    have_lines = any(len(rungs) > 1 for rungs in curves.values())
    searched = sweep.space.hyperparameters
    fid, precision = (score for score in sweep.scores if score.name in ("fid", "r_precision"))
    found = differences(sweep)
    shares = figures.importances(table, searched) if len(searched) > 1 else {}
    return {
        "step": step,
        "trials": len(table),
        "lines": len(table) >= figures.FEWEST,
        "fewest": figures.FEWEST,
        "curves": [
            figure(figures.learning_curves(curves, score, best), f"{score.label} {score.arrow} of every trial")
            for score in sweep.main_scores
            if have_lines
        ],
        "parallel": figure(
            figures.parallel(table, sweep.space.parameters, sweep.main_scores),
            "A line a trial, through its values",
            wide=True,
        ),
        "pareto": figure(figures.pareto(table, fid, precision), f"A point a trial: {fid.label} and {precision.label}"),
        "importance": figure(figures.importance(shares), "Each key's share in what makes a trial better")
        if shares
        else None,
        "intervals": [
            figure(figures.intervals(found, score), f"{score.label} {score.arrow}: differences by seed", wide=True)
            for score in sweep.main_scores
            if found
        ],
        "searched": len(searched),
        "effects": [
            figure(figures.effect(table, parameter, score), f"{score.label} {score.arrow} by {parameter.key}")
            for parameter in searched
            for score in sweep.main_scores
        ],
    }


def _samples(sweep: WholeSweep) -> dict[str, object] | None:
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


def _images(sweep: WholeSweep, trial: Trial) -> tuple[list[str], Any]:
    run = trial_run(sweep.run, trial.id)
    config = with_values(run.read_config(), {"train.seed": 0})  # the noise of all
    # The captions were noted at the start: the bucket need not be there for the report.
    samples = FixedSamples(run.load_encoders(config), run.read_tokenizer(config), sweep.state.captions, config)
    return samples.captions, to_array(samples.output(run.load_generator()).images[-1])
