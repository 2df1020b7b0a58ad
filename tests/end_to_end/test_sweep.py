"""A sweep through the command line: real runs, one that fails, the driver killed in the middle, resumed by name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.faults import SMALL
from datasets.manifest import Manifest
from dmgan.config import load_config
from dmgan.runs.run import Run
from tests.end_to_end.test_main_job import ROOT, launch
from tune.results import FAILED, FINISHED, RUNNING, Trial, load_trials, trial_run

pytestmark = pytest.mark.distributed
SETTINGS = [
    *SMALL,
    "data.draw_birds=false",
    "train.workers=1",
    "train.max_steps=8",
    "train.log_every=2",
    "train.sample_every=100",
    "checkpoint.every_steps=2",
    "evaluate.images=20",
    "evaluate.batch_size=10",
]


def trials(sweep: Run) -> list[Trial]:
    return load_trials(sweep) if sweep.has("trials") else []


def wait_for(process: subprocess.Popen[Any], log: Path, what: Any) -> None:
    deadline = time.monotonic() + 900
    while not what():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_a_sweep_with_a_failure_is_killed_and_resumed(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("optimizer.generator_lr: {grid: [1.0e+30, 0.0015, 0.001]}\n")
    sets = [part for assignment in (*SETTINGS, f"data.url={packed[0]}") for part in ("--set", assignment)]
    command = [
        sys.executable,
        "-m",
        "dmgan.launch",
        "tune",
        "--search",
        str(tmp_path / "space.yaml"),
        "--name",
        "three",
    ]
    command += ["--storage", str(tmp_path), *sets]
    sweep, log = Run(str(tmp_path / "three")), tmp_path / "log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    with log.open("wb") as out:
        first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True)
    # One has finished and another has begun to train.
    wait_for(first, log, lambda: any(trial.state == FINISHED for trial in trials(sweep)))
    wait_for(first, log, lambda: any(t.state == RUNNING for t in trials(sweep)))
    children = psutil.Process(first.pid).children(recursive=True)
    for process in (psutil.Process(first.pid), *children):
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    first.wait()
    before = {trial.id: trial for trial in trials(sweep)}
    done = {
        trial.id: Path(sweep.path("trials", trial.id, "evaluation.json")).stat().st_mtime_ns
        for trial in before.values()
        if trial.state == FINISHED
    }
    running = launch([sys.executable, "-m", "dmgan.launch", "report", "--storage", str(tmp_path), "--name", "three"])
    assert running.returncode == 0 and "was running when the report" in Path(sweep.path("report.html")).read_text()

    other = launch([*command, "--set", "train.max_steps=9"])
    assert other.returncode == 2 and "train.max_steps: the sweep was started with 8, not 9" in other.stderr
    again = launch([*command])
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    after = trials(sweep)
    assert len(after) == 3 and done
    for trial_id, written in done.items():  # what was finished is not run again
        assert Path(sweep.path("trials", trial_id, "evaluation.json")).stat().st_mtime_ns == written
    states = {trial.values["optimizer.generator_lr"]: trial for trial in after}
    failed = states.pop(1.0e30)
    assert failed.state == FAILED and "are not finite; see " in failed.reason and "\n" not in failed.reason
    assert all(trial.state == FINISHED and trial.step == 8 for trial in states.values())
    page = Path(sweep.path("report.html")).read_text()
    assert "sweep three: finished" in again.stdout and "are not finite; see " in page
    assert json.loads(Path(sweep.path("sweep.json")).read_text())["state"] == "finished"
    best = load_config(sweep.path("best.yaml"))
    assert (
        best.optimizer.generator_lr == min(states.values(), key=lambda t: t.score or 0).values["optimizer.generator_lr"]
    )
    assert not any(b"SECRET" in path.read_bytes().upper() for path in tmp_path.glob("three/*.json"))
    complete = launch([*command])
    assert complete.returncode == 0 and "sweep three is complete, nothing to do" in complete.stdout


def test_a_judge_of_a_seed_judges_all_trials_whatever_encoders_they_have(
    packed: tuple[str, Manifest], tmp_path: Path
) -> None:
    (tmp_path / "space.yaml").write_text("model.word_dim: {grid: [16, 24]}\n")
    settings = [*SETTINGS, f"data.url={packed[0]}", "evaluate.judge=100", "tune.objective=judge_r_precision"]
    settings += ["evaluate.features=small", "evaluate.features_module=tests.small_extractor", "train.max_steps=2"]
    sets = [part for assignment in settings for part in ("--set", assignment)]
    command = [sys.executable, "-m", "dmgan.launch", "tune", "--search", str(tmp_path / "space.yaml")]
    done = launch([*command, "--name", "two", "--storage", str(tmp_path), *sets])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    sweep = Run(str(tmp_path / "two"))
    assert [trial.state for trial in trials(sweep)] == [FINISHED] * 2
    (judge,) = Path(sweep.path("trials", ".judges")).iterdir()
    assert {trial_run(sweep, t.id).read_config().evaluate.judge for t in trials(sweep)} == {str(judge)}
