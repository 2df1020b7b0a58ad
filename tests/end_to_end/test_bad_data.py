"""A run on a dataset of which a part is damaged: it ends in one line, or goes on and counts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from datasets.manifest import Manifest
from dmgan.runs.run import Run
from tests.end_to_end.test_main_job import command, launch

pytestmark = pytest.mark.distributed


def pretrain(arguments: list[str]) -> list[str]:
    """The same of the encoders alone."""
    return [*arguments[:3], "pretrain", *arguments[3:]]


def test_a_damaged_shard_ends_the_run_in_one_line_or_is_counted(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(packed[0], data)
    shard = packed[1].splits["train"].shards[1]
    (data / shard.name).write_bytes(bytes(shard.size))  # of the right size, so that only reading tells
    steps = ("--set", "pretrain.max_steps=6", "--set", "train.log_every=3")
    ended = launch(pretrain(command(tmp_path, str(data), *steps, "--workers", "1")))
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("dmgan: ")]
    assert line.startswith(f"dmgan: training failed: {data}/{shard.name}: ") and "not the one that was packed" in line
    assert not any(word in ended.stderr for word in ("Traceback", "RayTaskError"))
    done = launch(pretrain(command(tmp_path, str(data), *steps, "--set", "data.on_bad_shard=skip")))
    assert done.returncode == 0, done.stderr
    lines = Run(str(tmp_path / "quickstart")).read_metrics()
    counted = [line.skipped for line in lines if line.skipped is not None]
    assert sum(entry.samples for entry in counted) >= 7  # each of the shard's samples once an epoch
    assert all(entry.reason.startswith(f"{data}/{shard.name}: ") for entry in counted)
