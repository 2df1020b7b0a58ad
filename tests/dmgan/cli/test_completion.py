"""What a shell is told could come next: it runs the command as argcomplete's shell code does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("ru", {"runs"}),
        ("evaluate --st", {"--storage", "--steps"}),
        ("train --set optimizer.gen", {"optimizer.generator_lr="}),
        ("train --config cub", {"cub", "cub-released"}),
        ("evaluate --storage {runs} --name bir", {"birds"}),
        ("runs --storage {runs} rm b", {"birds"}),
    ],
)
def test_completion(typed: str, expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "runs" / "birds").mkdir(parents=True)
    (tmp_path / "runs" / "birds" / "run.yaml").touch()
    line = "python -m dmgan.launch " + typed.format(runs=tmp_path / "runs")
    environment = os.environ | {
        "_ARGCOMPLETE": "3",  # words before the command's own
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "found"),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run([sys.executable, "-m", "dmgan.launch"], cwd=ROOT, env=environment, check=False)
    assert {word.strip() for word in (tmp_path / "found").read_text().splitlines()} == expected


def test_the_shell_finds_the_marker() -> None:
    assert "PYTHON_ARGCOMPLETE_OK" in (ROOT / "dmgan" / "launch.py").read_text(encoding="utf-8")[:1024]
