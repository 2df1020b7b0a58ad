"""A sweep's report, from what trials leave in storage; the page is opened in a browser where there is one."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dmgan.config import load_config
from dmgan.launch import main
from dmgan.runs.run import Run
from tests.evaluations import evaluated
from tune.report.figures import effect, importances, parallel, pareto
from tune.report.page import write_report
from tune.results import FAILED, FINISHED, RUNNING, STOPPED, Rung, Trial, load_trials, score_named
from tune.space import Space, load_space, parse_space, presets

SPACE = {
    "objective.lambda_damsm": {"loguniform": [0.1, 100]},
    "model.memory_dim": {"choice": [6, 8]},
    "train.seed": {"grid": [0, 1]},
}


@pytest.fixture(scope="module")
def sweep(untrained: tuple[Run, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Ten trials: λ2 near 3 is best; one failed, one was stopped, one is running."""
    sweep = Run(str(tmp_path_factory.mktemp("sweeps") / "mine"))
    config = load_config(None, [*untrained[1], "tune.first_rung=10", "tune.search=random", "pretrain.encoders=shared"])
    sweep.write_config(config)
    state = {"space": SPACE, "trials": 10, "objective": "fid", "state": RUNNING, "started": 0.0, "caps": {}}
    state["captions"] = ["a red bird", "this bird is blue with black wings"]
    sweep.write_json("sweep.json", state)
    rng = np.random.default_rng(0)
    for number in range(10):
        weight = float(10 ** rng.uniform(-1, 2))
        values = {
            "objective.lambda_damsm": weight,
            "model.memory_dim": (6, 8)[number % 2],
            "train.seed": number // 2 % 2,
        }
        kind = {5: FAILED, 6: STOPPED, 7: RUNNING}.get(number, FINISHED)
        steps = {FAILED: [], RUNNING: [10], STOPPED: [10]}.get(kind, [10, 30])
        fid = 5 + abs(np.log(weight / 3))
        rungs = [
            Rung(
                step=s,
                score=fid / s,
                scores={"fid": fid / s, "r_precision": 0.5 - fid / 100, "inception_score": 2.0},
                hours=0.1,
            )
            for s in steps
        ]
        reason = "step 4: non-finite <loss>" if kind == FAILED else ""
        about = {"id": f"t{number}", "planned": values, "values": values, "state": kind, "reason": reason}
        Trial(**about, rungs=rungs, started=float(number), hours=0.2).save(sweep)
        run = Run(sweep.path("trials", f"t{number}"))
        for name in ("encoders.safetensors", "vocabulary.json", "generator.safetensors", "generator.json"):
            shutil.copy(untrained[0].path(name), run.path(name))
        run.write_config(load_config(config, [f"{key}={value}" for key, value in values.items() if "dim" not in key]))
    return sweep


@pytest.fixture(scope="module")
def page(sweep: Run) -> str:
    return Path(write_report(sweep)).read_text()


def test_the_table_the_best_and_the_files(sweep: Run, page: str) -> None:
    rows = list(csv.DictReader(Path(sweep.path("trials.csv")).read_text().splitlines()))
    assert [row["state"] for row in rows].count(FINISHED) == 7 and rows[5]["why"] == "step 4: non-finite <loss>"
    finished = [row for row in rows if row["state"] == FINISHED]
    best = min(finished, key=lambda row: float(row["score"]))
    assert f"Best configuration: {best['trial']}<" in page and "non-finite &lt;loss&gt;" in page
    chosen = load_config(sweep.path("best.yaml"))
    assert chosen.objective.lambda_damsm == pytest.approx(float(best["objective.lambda_damsm"]))
    text = Path(sweep.path("report.md")).read_text()
    assert f"## Best: {best['trial']}" in text and "| #6 |  |  |  | failed |" in text and "- running: 1" in text


def test_a_reason_is_neither_markup_nor_a_formula(sweep: Run) -> None:
    trial = load_trials(sweep)[5]
    reason, trial.reason = trial.reason, "=cmd()|<script>alert(1)</script>"
    trial.save(sweep)
    try:
        assert "<script>alert" not in Path(write_report(sweep)).read_text()
        rows = list(csv.DictReader(Path(sweep.path("trials.csv")).read_text().splitlines()))
        assert rows[5]["why"] == "'=cmd()|<script>alert(1)</script>"
    finally:
        trial.reason = reason
        trial.save(sweep)


def test_what_a_reader_must_know(page: str) -> None:
    assert "This sweep was running when the report was written" in page
    assert "best: #" in page and "median: #" in page and "worst: #" in page
    assert "Over seeds" in page and "±" in page and "hours of CPU cores" in page


def test_every_plot_has_axes_with_units(page: str) -> None:
    assert page.count('class="plot"') == 2 + 1 + 1 + 1 + 2 * 2
    for unit in ("training step", "FID (squared feature units", "R-precision (share", "importance (share, PED-ANOVA)"):
        assert unit in page


def test_how_good_a_trial_is_comes_first(sweep: Run, page: str) -> None:
    head = Path(sweep.path("trials.csv")).read_text().splitlines()[0]
    assert head.startswith("trial,score,FID,R-precision,state,step,objective.lambda_damsm,")
    heads = re.findall(r"<th data-sort>(.*?)</th>", page)
    assert heads[:4] == ["trial", "score", "FID", "R-precision"]


def test_no_line_is_drawn_through_a_few_trials(sweep: Run) -> None:
    space: Space = parse_space(SPACE, sweep.read_config(), "x")
    fid, precision = score_named("fid"), score_named("r_precision")
    assert fid is not None and precision is not None
    rows = [
        {"trial": f"#{i}", "score": i, "fid": 9.0 - i, "r_precision": 0.5 - i / 10} | values
        for i, values in enumerate(space.plan(6, seed=0)[:6])
    ]
    table = pd.DataFrame(rows)
    for few, lines in ((3, False), (5, False), (6, True)):
        made = [effect(table[:few], parameter, fid) for parameter in space.parameters]
        made.append(pareto(table[:few], fid, precision))
        assert all(("lines" in " ".join(trace.mode for trace in plot.data)) is lines for plot in made)


@pytest.mark.parametrize(("precision", "warned"), [(0.012, True), (0.4, False)])
def test_a_best_trial_that_guesses_is_warned_of(sweep: Run, precision: float, warned: bool) -> None:
    rows = list(csv.DictReader(Path(sweep.path("trials.csv")).read_text().splitlines()))
    chosen = min((row for row in rows if row["state"] == FINISHED), key=lambda row: float(row["score"]))
    best = Run(sweep.path(chosen["run"]))
    evaluated(best, 30)
    result = best.read_json("evaluation.json")
    best.write_json("evaluation.json", result | {"r_precision": {"mean": precision, "std": 0.01}})
    try:
        page, text = Path(write_report(sweep)).read_text(), Path(sweep.path("report.md")).read_text()
        said = "R-precision of 1.2 % is no better than chance: guessing gets 1.0 % ± 0.6 % of 1,000 images"
        assert [said in page, said in text] == [warned, warned]
    finally:
        Path(best.path("evaluation.json")).unlink()


def test_importance_finds_what_matters(sweep: Run) -> None:
    rng = np.random.default_rng(1)
    space: Space = parse_space({k: v for k, v in SPACE.items() if k != "train.seed"}, sweep.read_config(), "x")
    rows = [{"objective.lambda_damsm": 10 ** rng.uniform(-1, 2), "model.memory_dim": (6, 8)[i % 2]} for i in range(40)]
    table = pd.DataFrame(rows)
    table["score"] = np.abs(np.log(table["objective.lambda_damsm"]))
    shares = importances(table, space.parameters)
    assert shares["objective.lambda_damsm"] > 5 * shares["model.memory_dim"]
    assert importances(table[:5], space.parameters) == {}


@pytest.mark.parametrize("name", presets())
def test_every_preset_has_figures(name: str) -> None:
    """Also where values are integers and fractions in one list, or PBT has left a range."""
    space = load_space(name, load_config("cub"))
    rows = [
        {"trial": f"#{i}", "score": i % 5, "fid": i + 1.0, "r_precision": 0.1 * (i % 3)} | values
        for i, values in enumerate(space.plan(6, seed=0))
    ]
    table = pd.DataFrame(rows)
    for p in space.parameters:
        table[p.key] = pd.Series([row[p.key] for row in rows], dtype=object)
        if p.kind == "loguniform":
            table.loc[0, p.key] = 1.2 * p.values[1]
    fid = score_named("fid")
    assert fid is not None and parallel(table, space.parameters, [fid]) and importances(table, space.parameters)
    assert all(effect(table, p, fid) for p in space.parameters)


def test_the_command_writes_it_anew(sweep: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, name = sweep.url.rpartition("/")
    Path(sweep.path("report.html")).unlink(missing_ok=True)
    assert main(["report", "--storage", folder, "--name", name]) == 0 and sweep.has("report.html")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """
<script>
const errors = [];
addEventListener('error', event => errors.push(String(event.message)));
addEventListener('load', () => plotted.then(() => {
  const column = [...document.querySelectorAll('#trials th')].findIndex(h => h.textContent === 'score');
  const head = document.querySelectorAll('#trials th')[column];
  const read = () => [...document.querySelectorAll('#trials tbody tr')].map(r => r.cells[column].dataset.value);
  head.click(); const rising = read(); head.click(); const falling = read();
  const plots = [...document.querySelectorAll('.js-plotly-plot')];
  const right = element => element.getBoundingClientRect().right;
  const wide = plots.filter(plot => !plot.closest('.wide')).filter(plot =>
    right(plot.querySelector('svg')) > right(document.body) + 1);
  const out = document.createElement('pre');
  out.id = 'probe';
  out.textContent = JSON.stringify({
    errors, rising, falling, plots: plots.length, wide: wide.length,
    titles: document.querySelectorAll('.xtitle').length,
    requests: performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).map(e => e.name),
    overflow: document.documentElement.scrollWidth - innerWidth,
  });
  document.body.appendChild(out);
}));
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [400, 1600])
def test_it_opens_in_a_browser_without_errors_or_network(page: str, tmp_path: Path, width: int) -> None:
    (tmp_path / "page.html").write_text(page.replace("<head>", f"<head>{PROBE}", 1))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1200", "--virtual-time-budget=8000"]
    done = subprocess.run(
        [str(CHROMIUM), *flags, "--dump-dom", f"file://{tmp_path / 'page.html'}"],
        capture_output=True,
        text=True,
        timeout=900,
    )
    found = json.loads(re.findall(r'<pre id="probe">(.*?)</pre>', done.stdout)[0])
    assert found["errors"] == [] and found["requests"] == []
    scores = [float(value) for value in found["rising"] if value]
    assert len(found["rising"]) == 10 and scores == sorted(scores) and found["rising"][-1] == ""
    falling = [float(value) for value in found["falling"] if value]
    assert falling == scores[::-1] and found["falling"][-1] == ""
    assert found["plots"] == 9 and found["titles"] >= 8 and found["wide"] == 0
    assert found["overflow"] <= 0
