from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cluster.driver.live_report import refreshed
from datasets import storage
from dmgan.config import load_config
from dmgan.runs.folder import LIVE_REPORT, RunFolder, generator_json


def reach(run: RunFolder, step: int) -> None:
    storage.write_bytes(run.path("generator.json"), generator_json(load_config(), step, 30))


def test_the_report_is_written_after_checkpoints_but_the_last(tmp_path: Path) -> None:
    run, written = RunFolder(str(tmp_path)), threading.Semaphore(0)
    steps: list[int] = []

    def write() -> None:
        steps.append(run.trained_steps())
        written.release()

    reach(run, 10)
    with refreshed(run, write, 0.01, 0):
        for step in (20, 25):  # that of step 10 is of an earlier start
            reach(run, step)
            assert written.acquire(timeout=60)
        assert run.has(LIVE_REPORT)
        reach(run, 30)
        assert not written.acquire(timeout=0.2)
    assert steps == [20, 25]


def test_a_report_that_cannot_be_written_costs_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, tried = RunFolder(str(tmp_path)), threading.Event()

    def write() -> None:
        tried.set()
        raise ValueError("no page")

    with refreshed(run, write, 0.01, 0):
        reach(run, 10)
        assert tried.wait(60)
    assert "dmgan: warning: report.html is not refreshed any more: no page" in capsys.readouterr().err
