"""Ray Tune's part of a sweep, with trials that only pretend to train: search, stopping, caps, going on."""

from __future__ import annotations

import json
import tempfile
import time
from math import log
from pathlib import Path
from typing import Any

import pytest
import ray

from dmgan.config import Config, load_config, with_values
from dmgan.runs.run import Run
from tune import sweep as sweeping
from tune.results import FINISHED, LEFT, RUNNING, STOPPED, Rung, Trial, load_trial, load_trials, trial_run
from tune.space import Space, parse_space
from tune.state import read_state
from tune.sweep import run_sweep

pytestmark = pytest.mark.distributed
SPACE = {
    "optimizer.generator_lr": {"loguniform": [1.0e-4, 1.0e-2]},
    "optimizer.discriminator_lr": {"loguniform": [1.0e-4, 1.0e-2]},
}


def pretend(values: dict[str, Any], sweep: Run, steps: list[int], registry: Any) -> None:
    """As `run_trial`, without a network: better the nearer the generator's rate is to 0.001. An hour a rung.

    It gets better with its steps as well, but not in a population: there the better one would else be whichever
    reported last, and none would ever take over from the other.
    """
    from ray import tune

    trial = load_trial(sweep, ray.get(registry.claim.remote(str(tune.get_context().get_trial_id()), values)))
    assert trial is not None
    trial_run(sweep, trial.id).write_config(sweep.read_config())
    pbt = sweep.read_config().tune.scheduler == "pbt"
    trial.state, trial.values = RUNNING, values
    for step in steps:
        if step > trial.step:
            if pbt:
                keep_step(trial, sweep)
            score = abs(log(values["optimizer.generator_lr"] / 0.001)) + (0 if pbt else 10 / step)
            rung = Rung(
                step=step,
                score=score,
                scores={"fid": score, "r_precision": 0.1, "inception_score": 1.0},
                hours=1.0,
            )
            trial.rungs.append(rung)
            trial.hours += 1
            trial.state = FINISHED if step == steps[-1] else RUNNING
            trial.save(sweep)
            if not pbt:
                tune.report({"step": step, "score": score})
                continue
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "origin.json").write_text(json.dumps({"trial": trial.id, "step": step}))
                tune.report({"step": step, "score": score}, checkpoint=tune.Checkpoint.from_directory(folder))


def keep_step(trial: Trial, sweep: Run) -> None:
    """Let the other trial report first where it is behind: one that is over can no longer be learnt from.

    So when the worse one reports its third rung, of five, the other's first is known and its last is not there yet.
    """
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        trials = load_trials(sweep)
        behind = [t for t in trials if t.state != FINISHED and len(t.rungs) < len(trial.rungs)]
        if len(trials) == 2 and not behind:
            return
        time.sleep(0.05)


@pytest.fixture
def settings(untrained: tuple[Run, list[str]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(sweeping, "run_trial", pretend)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    small = ["train.workers=1", "train.batch_size=4", "train.max_steps=9", "tune.first_rung=3", "data.draw_birds=false"]
    return [*untrained[1], *small, f"pretrain.encoders={untrained[0].url}", "evaluate.distractors=9"]


def begin(settings: list[str], folder: Path, *more: str) -> tuple[Config, Space, Run]:
    config = load_config(None, [*settings, *more])
    return config, parse_space(SPACE, config, "space"), Run(str(folder / "sweep"))


def of(trials: list[Trial], state: str) -> list[Trial]:
    return [trial for trial in trials if trial.state == state]


def test_a_sweep_that_a_cap_has_ended_goes_on_with_a_larger_one(settings: list[str], tmp_path: Path) -> None:
    """Optuna and ASHA."""
    config, space, sweep = begin(settings, tmp_path, "tune.trials=5", "tune.max_gpu_hours=2.5")
    run_sweep(config, space, sweep)
    state, first = read_state(sweep), load_trials(sweep)
    assert state.state == "stopped: tune.max_gpu_hours=2.5 is used up" and sweep.has("report.html")
    assert 1 < len(first) < 5 and not of(first, RUNNING)
    config = with_values(config, {"tune.max_gpu_hours": None})
    run_sweep(config, space, sweep)
    trials = load_trials(sweep)
    assert read_state(sweep).state == FINISHED and len(trials) == 5
    assert not of(trials, LEFT) and not of(trials, RUNNING)
    done = {trial.id: trial for trial in first if trial.state in (FINISHED, STOPPED)}
    assert all(load_trial(sweep, trial_id) == trial for trial_id, trial in done.items())
    assert of(trials, FINISHED)
    assert all(trial.step == 9 for trial in of(trials, FINISHED)) and all(t.step < 9 for t in of(trials, STOPPED))
    best_at_first = min(trials, key=lambda trial: trial.rungs[0].score)
    assert best_at_first.state == FINISHED  # what was the best at a rung was not stopped there
    rates = [trial.values["optimizer.generator_lr"] for trial in trials]
    assert len(set(rates)) == 5 and all(1e-4 <= rate <= 1e-2 for rate in rates)


def test_population_based_training_changes_values_within_their_range(settings: list[str], tmp_path: Path) -> None:
    more = ("tune.scheduler=pbt", "tune.trials=2", "train.max_steps=15", "evaluate.images=20")
    config, space, sweep = begin(settings, tmp_path, *more)
    run_sweep(config, space, sweep)
    trials = load_trials(sweep)
    assert [trial.id for trial in trials] == ["001", "002"] and len(of(trials, FINISHED)) == 2
    for trial in trials:
        assert [rung.step for rung in trial.rungs] == [3, 6, 9, 12, 15]
        assert all(1e-4 <= value <= 1e-2 for value in trial.values.values())
    assert any(trial.values != trial.planned for trial in trials)
