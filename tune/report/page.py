"""A sweep's report: report.html in itself, report.md, trials.csv and best.yaml. Of a sweep that is running, too."""

from __future__ import annotations

import html
import json
import shlex
from dataclasses import dataclass
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from datasets import storage
from dmgan.config import Config, ConfigError, with_values
from dmgan.evaluation.protocol import differences
from dmgan.pixels import to_array
from dmgan.report.figures import picture
from dmgan.runs.run import Run
from dmgan.runs.samples import FixedSamples
from tune.report import figures
from tune.results import RUNNING, Trial, load_trials, trial_run
from tune.space import Space, parse_space, scheduler_of

__all__ = ["write_report"]

_STYLE = """
:root { color-scheme: light; }
body { font: clamp(15px, 1.1vw, 20px)/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72em; padding: 1rem;
  color: #1c2430; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #d5dbe3; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.card { background: #f3f6fa; border-radius: 8px; padding: .6rem 1rem; min-width: 8rem; }
.card b { display: block; font-size: 1.5rem; } .card span, .note { color: #57606c; font-size: .88rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid #e3e8ee; white-space: nowrap; }
th[data-sort] { cursor: pointer; user-select: none; } th[data-sort]::after { content: ' ↕'; color: #9aa4b0; }
th[aria-sort=ascending]::after { content: ' ↑'; } th[aria-sort=descending]::after { content: ' ↓'; }
td.text { white-space: normal; min-width: 11rem; } tr.best { background: #fff8e1; }
td img { image-rendering: pixelated; width: 112px; height: 112px; display: block; }
.plots > * { min-width: 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
pre { background: #f3f6fa; padding: .8rem; overflow-x: auto; font-size: .8rem; }
"""
_SCRIPT = """
// Figures were drawn while their rows were not full yet.
addEventListener('load', () => dispatchEvent(new Event('resize')));
document.querySelectorAll('th[data-sort]').forEach(head => {
  const sort = () => {
    const body = head.closest('table').tBodies[0], column = head.cellIndex;
    const up = head.getAttribute('aria-sort') !== 'ascending';
    head.parentNode.querySelectorAll('th').forEach(other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const key = row => row.cells[column].dataset.value;
    const compare = (a, b) => {
      if (key(a) === '' || key(b) === '') return (key(a) === '') - (key(b) === '');
      const numbers = [Number(key(a)), Number(key(b))];
      const order = numbers.some(isNaN) ? key(a).localeCompare(key(b)) : numbers[0] - numbers[1];
      return up ? order : -order;
    };
    [...body.rows].sort(compare).forEach(row => body.appendChild(row));
  };
  head.tabIndex = 0;
  head.addEventListener('click', sort);
  head.addEventListener('keydown', event => { if (event.key === 'Enter') sort(); });
});
"""


@dataclass(frozen=True)
class _Sweep:
    """All of a sweep that its report is made from."""

    run: Run
    state: dict[str, Any]
    config: Config
    space: Space
    trials: list[Trial]

    @property
    def scored(self) -> list[Trial]:
        """The trials with a score, the best first: of those that got farthest, then of those that got less far."""
        found = [trial for trial in self.trials if trial.score is not None]
        return sorted(found, key=lambda trial: (-trial.step, trial.score))

    def label(self, trial: Trial) -> str:
        return f"#{self.trials.index(trial) + 1}"

    def table(self, step: int) -> pd.DataFrame:
        """The trials that were evaluated at a step, with their scores there."""
        names = ["score", "fid", "r_precision"]
        rows = [
            {"trial": self.label(trial), **{name: rung[name] for name in names}, **trial.values}
            for trial in self.trials
            for rung in trial.rungs
            if rung["step"] == step
        ]
        table = pd.DataFrame(rows, columns=["trial", *names, *self.space.keys])
        for key in self.space.keys:  # as they were given: pandas would make 1 of a list with 0.5 in it 1.0
            table[key] = pd.Series([row[key] for row in rows], dtype=object, index=table.index)
        return table

    @property
    def common_step(self) -> int:
        """The last step that at least half of the trials reached: scores of other steps do not compare with its."""
        steps = sorted({rung["step"] for trial in self.scored for rung in trial.rungs})
        return max(step for step in steps if 2 * len(self.table(step)) >= len(self.scored))


def write_report(sweep: Run) -> str:
    """Write report.html, report.md, trials.csv and, where a trial has a score, best.yaml; returns where the page is."""
    config, state = sweep.read_config(), sweep.read_json("sweep.json")
    space = parse_space(state["space"], config, sweep.path("sweep.json"))
    whole = _Sweep(sweep, state, config, space, load_trials(sweep))
    rows = _rows(whole)
    storage.write_bytes(sweep.path("trials.csv"), pd.DataFrame(rows).to_csv(index=False).encode())
    storage.write_bytes(sweep.path("report.md"), _markdown(whole, rows).encode())
    if whole.scored:
        storage.write_bytes(sweep.path("best.yaml"), _best_yaml(whole).encode())
    storage.write_bytes(sweep.path("report.html"), _page(whole, rows).encode())
    return sweep.path("report.html")


def _rows(sweep: _Sweep) -> list[dict[str, Any]]:
    """The table of trials, in the order of their start."""
    return [
        {
            "trial": sweep.label(trial),
            "state": trial.state,
            **{key: trial.values.get(key) for key in sweep.space.keys},
            "step": trial.step,
            "score": trial.score,
            "FID": trial.last("fid"),
            "R-precision": trial.last("r_precision"),
            "IS": trial.last("inception_score"),
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
        (f"{len(sweep.trials)} / {sweep.state['trials']}", "trials"),
        (f"{sum(trial.cost() for trial in sweep.trials):.2f}", f"{kind}, training and evaluation of the trials"),
        *((str(states.count(state)), state) for state in sorted(set(states))),
    ]
    if sweep.scored:
        best = sweep.scored[0]
        shown = [(f"{best.last('fid'):.3f}", f"FID of the best, {sweep.label(best)}")]
        shown.append(
            (f"{100 * float(best.last('r_precision') or 0):.1f} %", f"R-precision of the best, {sweep.label(best)}")
        )
        facts = [*shown, *facts]
    return facts


def _notes(sweep: _Sweep) -> list[str]:
    """What a reader must know before comparing."""
    options = sweep.config.tune
    best = {
        "fid": "the smallest FID",
        "r_precision": "the largest R-precision",
        "pair": f"the smallest {options.fid_weight:g}·ln FID − {1 - options.fid_weight:g}·ln R-precision",
    }[options.objective]
    notes = [
        f"Best is {best} at the last step that any trial reached. Sweep {sweep.state['state']}; "
        f"{sweep.config.train.workers} worker(s) a trial; search {_method(sweep)}.",
    ]
    if sweep.state["state"] == RUNNING:
        notes.append("This sweep was running when the report was written; figures are of what it had by then.")
    evaluations = [e for trial in sweep.scored if (e := _evaluation(sweep, trial)) is not None]
    for evaluation in evaluations[1:]:
        different = differences(evaluations[0]["protocol"], evaluation["protocol"])
        if different:
            notes.append(
                f"Scores of some trials do not compare strictly, their protocols differ: {'; '.join(different)}."
            )
            break
    if evaluations and evaluations[0]["features"] != "inception-v3":
        notes.append(
            f"FID and IS are on {evaluations[0]['features']} features, not on Inception-v3: they compare the trials of "
            "this sweep and nothing else."
        )
    return notes


def _method(sweep: _Sweep) -> str:
    options = sweep.config.tune
    search = "grid" if sweep.space.has_grid else options.search or "optuna"
    kind = scheduler_of(sweep.space, options)
    scheduler = {"asha": "ASHA", "pbt": "PBT", "none": "no early stopping"}[kind]
    return f"{search}, {scheduler}, seed {options.seed}"


def _evaluation(sweep: _Sweep, trial: Trial) -> dict[str, Any] | None:
    run = trial_run(sweep.run, trial.id)
    found: dict[str, Any] | None = run.read_json("evaluation.json") if run.has("evaluation.json") else None
    return found


def _page(sweep: _Sweep, rows: list[dict[str, Any]]) -> str:
    cards = "".join(
        f"<div class='card'><b>{html.escape(v)}</b><span>{html.escape(t)}</span></div>" for v, t in _facts(sweep)
    )
    parts = [
        f"<h1>Sweep {html.escape(sweep.run.name)}</h1><div class='cards'>{cards}</div>",
        *(f"<p class='note'>{html.escape(note)}</p>" for note in _notes(sweep)),
        _best(sweep),
        _trials(sweep, rows),
        _plots(sweep),
        _seeds(sweep),
        _samples(sweep),
    ]
    title = html.escape(f"DM-GAN sweep {sweep.run.name}")
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<link rel='icon' href='data:,'><style>{_STYLE}</style><script>{get_plotlyjs()}</script></head>"
        f"<body>{''.join(parts)}<script>{_SCRIPT}</script></body></html>"
    )


def _best(sweep: _Sweep) -> str:
    if not sweep.scored:
        return "<h2>Best configuration</h2><p>No trial has been evaluated yet.</p>"
    best = sweep.scored[0]
    rows = "".join(
        f"<tr><th>{html.escape(k)}</th><td>{html.escape(_short(v))}</td></tr>" for k, v in best.values.items()
    )
    return (
        f"<h2>Best configuration: {sweep.label(best)}</h2><table>{rows}</table><p>Run it: <code>python -m "
        f"dmgan.launch --config {html.escape(shlex.quote(sweep.run.path('best.yaml')))} --name best</code></p>"
        "<details><summary>best.yaml</summary>"
        f"<pre>{html.escape(_best_yaml(sweep))}</pre></details>"
    )


def _trials(sweep: _Sweep, rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    best = sweep.label(sweep.scored[0]) if sweep.scored else None
    head = "".join(f"<th data-sort>{html.escape(name)}</th>" for name in rows[0])
    body = ""
    for row in rows:
        cells = "".join(_cell(name, value) for name, value in row.items())
        body += f"<tr{' class=best' if row['trial'] == best else ''}>{cells}</tr>"
    return (
        "<h2>Trials</h2><p class='note'>A click on a column sorts by it. The score is what is minimised.</p>"
        f"<div class='scroll'><table id='trials'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(name: str, value: Any) -> str:
    key = str(value).lstrip("#") if name == "trial" else "" if value is None else str(value)
    kind = " class='text'" if name == "why" else ""
    return f"<td{kind} data-value='{html.escape(key, quote=True)}'>{html.escape(_short(value))}</td>"


def _plots(sweep: _Sweep) -> str:
    scored = sweep.scored
    if not scored:
        return ""
    step, best = sweep.common_step, sweep.label(scored[0])
    table = sweep.table(step)
    curves = {sweep.label(trial): trial.rungs for trial in sweep.trials if trial.rungs}
    parts = [
        "<h2>Learning curves</h2><div class='plots'>",
        *(_figure(figures.learning_curves(curves, metric, best)) for metric in ("fid", "r_precision")),
        "</div>",
        f"<h2>Values and scores</h2><p class='note'>From here on: the {len(table)} trials at step {step}, which "
        "at least half of them reached.</p>",
        _figure(figures.parallel(table, sweep.space.parameters)),
        f"<h2>FID and R-precision</h2>{_figure(figures.pareto(table))}",
        _importance(sweep, table, step),
        "<h2>Effect of each key</h2><p class='note'>Points are trials; lines their mean ± standard deviation for each "
        "value, or each quarter of a range.</p><div class='plots'>",
        *(
            _figure(figures.effect(table, parameter, metric))
            for parameter in sweep.space.parameters
            for metric in ("fid", "r_precision")
            if parameter.key != "train.seed"
        ),
        "</div>",
    ]
    return "".join(parts)


def _importance(sweep: _Sweep, table: pd.DataFrame, step: int) -> str:
    shares = figures.importances(table, sweep.space.parameters)
    if not shares:
        return "<h2>Importance</h2><p class='note'>Too few trials to say which key matters.</p>"
    note = f"For the score of {len(table)} trials at step {step}; with few trials take it for a hint."
    return f"<h2>Importance</h2><p class='note'>{note}</p>{_figure(figures.importance(shares))}"


def _figure(figure: Any) -> str:
    return str(
        figure.to_html(full_html=False, include_plotlyjs=False, config={"responsive": True, "displaylogo": False})
    )


def _seeds(sweep: _Sweep) -> str:
    """Over seeds: mean ± standard deviation (n − 1) of every configuration."""
    table = _over_seeds(sweep)
    if table is None:
        return ""
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row) + "</tr>"
        for row in table.itertuples(index=False)
    )
    return (
        "<h2>Over seeds</h2><p class='note'>Mean ± standard deviation over the seeds of every configuration.</p>"
        f"<div class='scroll'><table><tr>{head}</tr>{body}</table></div>"
    )


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
        for name, label, factor in (("fid", "FID ↓", 1), ("r_precision", "R-precision ↑ (%)", 100)):
            values = factor * part[name].astype(float)
            row[label] = f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" if len(part) > 1 else f"{values.mean():.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


def _samples(sweep: _Sweep) -> str:
    """The best, the median and the worst trial on the same captions and noise."""
    scored = [trial for trial in sweep.scored if trial_run(sweep.run, trial.id).has("generator.json")]
    if not scored:
        return ""
    chosen = {"best": scored[0], "median": scored[len(scored) // 2], "worst": scored[-1]}
    columns = {}
    for name, trial in chosen.items():
        try:
            columns[f"{name}: {sweep.label(trial)}, step {trial.step}"] = _images(sweep, trial)
        except (ConfigError, storage.StorageError):
            if sweep.state["state"] != RUNNING:
                raise
            return ""  # a trial that is running replaces its files
    captions = next(iter(columns.values()))[0]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr><td class='text'>{html.escape(caption)}</td>"
        + "".join(f"<td>{picture(images[row], caption)}</td>" for _, images in columns.values())
        + "</tr>"
        for row, caption in enumerate(captions)
    )
    return (
        "<h2>Samples</h2><p class='note'>Captions of test classes, the same noise for all three.</p>"
        f"<div class='scroll'><table><tr><th>caption</th>{head}</tr>{body}</table></div>"
    )


def _images(sweep: _Sweep, trial: Trial) -> tuple[list[str], Any]:
    run = trial_run(sweep.run, trial.id)
    config = with_values(run.read_config(), {"train.seed": 0})  # the noise of all
    # The captions were noted at the start: the bucket need not be there for the report.
    samples = FixedSamples(run.load_encoders(config), run.read_tokenizer(config.model), sweep.state["captions"], config)
    return samples.captions, to_array(samples.output(run.load_generator()).images[-1])


def _markdown(sweep: _Sweep, rows: list[dict[str, Any]]) -> str:
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
