"""What the driver prints, in the run's folder."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import pytest

from datasets.errors import UserError
from datasets.storage.lease import leased
from dmgan.runs import driver_log
from dmgan.runs.driver_log import DRIVER_LOG, recorded
from dmgan.runs.folder import RunFolder


def lines_of(run: RunFolder) -> list[str]:
    text = Path(run.path(DRIVER_LOG)).read_text(encoding="utf-8")
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d .", line) for line in text.splitlines())
    return [line[20:] for line in text.splitlines()]


def test_every_start_of_a_run_is_in_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(str(tmp_path / "run"))
    with recorded(run) as log:
        print("before the run is begun")
        log.begin()
        print("\x1b[1m[1/5] dataset:\x1b[0m there")
        sys.stderr.write("\rtrain:  10%|#  |\rtrain: 100%|###|\n")
        sys.stderr.write("half a ")
        print("whole line")
        sys.stderr.write("line\n")
    assert "\x1b[1m[1/5]" in capsys.readouterr().out  # the terminal has it as it was
    first = lines_of(run)
    assert first[0].startswith("--- dmgan ") and first[-1] == "--- done"
    assert first[1:-1] == [
        "before the run is begun",
        "[1/5] dataset: there",
        "train: 100%|###|",
        "whole line",
        "half a line",
    ]
    with pytest.raises(UserError), recorded(run) as log:
        log.begin()
        raise UserError("workers failed")
    with pytest.raises(ZeroDivisionError), recorded(run) as log:
        log.begin()
        _ = 1 / 0
    again = lines_of(run)
    assert again[: len(first)] == first and "dmgan: workers failed" in again
    assert again[-1] == "ZeroDivisionError: division by zero" and sys.stdout is not None


def test_a_mistake_before_the_run_is_begun_leaves_nothing(tmp_path: Path) -> None:
    before = sys.stdout
    with pytest.raises(UserError), recorded(RunFolder(str(tmp_path / "run"))):
        raise UserError("no dataset")
    assert sys.stdout is before and not (tmp_path / "run").exists()


def test_the_log_is_there_while_the_run_goes_on_and_does_not_grow_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_log, "_MOST", 2000)
    monkeypatch.setattr(driver_log, "_SECONDS", {True: 0.01, False: 0.01})
    run, written = RunFolder(str(tmp_path)), threading.Event()
    save = driver_log.storage.write_bytes

    def note(url: str, content: bytes) -> None:
        save(url, content)
        written.set()

    monkeypatch.setattr(driver_log.storage, "write_bytes", note)
    with recorded(run) as log:
        log.begin()
        print("soon there")
        assert written.wait(30)
        for number in range(300):
            print(f"line {number}")
    assert Path(run.path(DRIVER_LOG)).stat().st_size < 2100 and lines_of(run)[-2:] == ["line 299", "--- done"]


def test_a_run_that_was_taken_over_has_the_others_log(tmp_path: Path) -> None:
    run = RunFolder(str(tmp_path))
    with leased(run.path("mine"), 30.0, lambda: None) as lease, recorded(run, lease) as log:
        log.begin()
        Path(run.path("mine")).write_text("{}")  # nobody's: it is lost
        Path(run.path(DRIVER_LOG)).write_text("2026-01-01 00:00:00 theirs\n")
        print("mine")
        lost = lease
    assert lost.id and lines_of(run) == ["theirs"]
