from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from cluster.worker.checkpoints import Checkpoints
from cluster.worker.position import Position
from cluster.worker.state import CheckpointState
from datasets.errors import UserError
from dmgan import TextToImage
from dmgan.architectures import build_generator
from dmgan.runs.checkpoints import averaged_steps, load_averaged
from dmgan.runs.run import Run


def test_a_checkpoints_own_generator_draws_and_a_damaged_one_is_named(
    untrained: tuple[Run, list[str]], tmp_path: Path
) -> None:
    shutil.copytree(untrained[0].url, tmp_path / "run")
    run = Run(str(tmp_path / "run"))
    torch.manual_seed(1)
    weights = build_generator(run.read_config().model).state_dict()
    checkpoints = Checkpoints(run, keep=2)
    for step, content in ((1, b"another"), (2, safetensors.torch.save(weights))):
        state = CheckpointState(stage="train", position=Position(1, 2, 30, step=step), seed=0, config={})
        checkpoints.save(state, {"average.safetensors": lambda c=content: c}, {})  # type: ignore[misc]
        checkpoints.wait()
    (tmp_path / "run" / "checkpoints" / "train-00000004").mkdir()  # not finished
    assert averaged_steps(run) == [1, 2]
    assert all(torch.equal(tensor, weights[key]) for key, tensor in load_averaged(run, 2).state_dict().items())
    early, final = (TextToImage.from_run(run.url, step=step, device="cpu") for step in (2, 3))
    assert (early.step, final.step) == (2, 3)
    drawn = [model(["this bird is red"]).drawings[0].pixels[-1] for model in (early, final)]
    assert not np.array_equal(*drawn)
    with pytest.raises(UserError, match="no checkpoint of step 4; there are: 1, 2"):
        load_averaged(run, 4)
    average = tmp_path / "run" / "checkpoints" / "train-00000002" / "average.safetensors"
    average.write_bytes(average.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"average.safetensors: damaged: has another checksum"):
        load_averaged(run, 2)
