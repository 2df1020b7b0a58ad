"""Progress where output goes to a file."""

from __future__ import annotations

import time

import pytest

from datasets.storage.progress import progress_bar


def test_lines_now_and_then_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(total=10, desc="train", unit="step", line_seconds=0.05) as bar:
        for _ in range(10):
            time.sleep(0.01)
            bar.set_postfix_str("38 images/s", refresh=False)
            bar.update(1)
    shown = capsys.readouterr().err
    lines = shown.splitlines()
    assert "\r" not in shown and "\x1b" not in shown and 2 <= len(lines) <= 4
    assert all(line.startswith("      train: ") and line.endswith(", 38 images/s") for line in lines)
    assert lines[-1].startswith("      train: 10 of 10 steps, ")
    assert list(progress_bar([1, 2], desc="short", unit="image")) == [1, 2]
    assert len(capsys.readouterr().err.splitlines()) == 1
