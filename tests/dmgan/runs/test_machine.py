"""RUN/machine.json."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from dmgan import __version__
from dmgan.config import ConfigError
from dmgan.runs.folder import RunFolder
from dmgan.runs.machine import read_machines, record_machine, this_machine


def test_each_stage_has_the_machine_of_its_last_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(str(tmp_path))
    assert read_machines(run) == {}
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    first, second = (this_machine(torch.device("cpu"), workers) for workers in (2, 4))
    record_machine(run, "pretrain", first)
    record_machine(run, "train", first)
    record_machine(run, "train", second)
    assert read_machines(run) == {"pretrain": first, "train": second}
    assert (second.workers, second.workers_here, second.cores) == (4, 2, os.cpu_count())
    assert second.version == __version__ and not second.gpu and second.device and second.memory > 2**28
    assert second.packages["torch"] == torch.__version__


@pytest.mark.parametrize("content", ["{", "[1]", '{"train": {"device": 1}}', '{"train": 3}'])
def test_a_damaged_record_is_one_line_and_is_replaced(tmp_path: Path, content: str) -> None:
    run = RunFolder(str(tmp_path))
    (tmp_path / "machine.json").write_text(content)
    with pytest.raises(ConfigError, match=r"machine.json: damaged") as error:
        read_machines(run)
    assert "\n" not in str(error.value)
    machine = this_machine(torch.device("cpu"), 1)
    record_machine(run, "train", machine)
    assert read_machines(run) == {"train": machine}
