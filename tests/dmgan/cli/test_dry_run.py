"""--dry-run: the plan and all problems at once, and nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datasets.manifest import Manifest
from dmgan.config import load_config
from dmgan.launch import main
from tests.small import SMALL


def dry(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[str]]:
    capsys.readouterr()
    code = main([*arguments, "--dry-run"])
    said = capsys.readouterr()
    return code, said.out, said.err.splitlines()


def sets(*assignments: str) -> list[str]:
    return [part for assignment in (*SMALL, *assignments) for part in ("--set", assignment)]


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = sets(
        "loggers=[tensorboard, nobody]",
        "model.text_encoder=nothing",
        "pretrain.encoders=/no/run",
        "evaluate.real_statistics=/no/statistics.npz",
        "data.url=/no/dataset",
        "train.workers=500",
    )
    code, plan, problems = dry(["--storage", str(tmp_path / "runs"), *wrong], capsys)
    assert code == 2 and "data.url" not in plan and "/no/dataset: cannot be read" in plan
    expected = (
        "loggers=nobody: no such logger",
        "model.text_encoder=nothing: ",
        "pretrain.encoders=/no/run: vocabulary.json not found",
        "/no/statistics.npz: not found",
        "/no/dataset/manifest.json: not found",
        f"train.workers=500: each worker needs one CPU, this machine has {os.cpu_count()}",
    )
    for text in expected:
        assert any(text in line for line in problems), (text, problems)
    assert problems[0].startswith(f"dmgan: 1 of {len(problems)}: ")
    assert not (tmp_path / "runs").exists()


def test_a_dataset_is_looked_at_and_the_plan_is_made_of_it(
    packed: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, manifest = packed
    given = [f"data.url={url}", "model.base_size=32", "train.batch_size=4", "pretrain.batch_size=4"]
    where = ["--storage", str(tmp_path), "--name", "new"]
    assignments = [part for text in given for part in ("--set", text)]
    code, plan, problems = dry([*where, *assignments, "--set", "evaluate.distractors=100"], capsys)
    assert code == 2 and "give 128 pixels, but" in problems[0] and len(problems) == 1
    assignments += ["--set", "model.base_size=16", "--set", "evaluate.distractors=20", "--set", "train.max_steps=7"]
    code, plan, problems = dry([*where, *assignments], capsys)
    assert (code, problems) == (0, [])
    assert f"{url}: {manifest.split('train').samples} training" in plan
    assert f"{tmp_path / 'new'}: new" in plan and "to step 7, 8 images a step, DeepSpeed ZeRO 1" in plan
    assert "nothing is missing" in plan and not (tmp_path / "new").exists()


def test_memory_that_is_not_there_is_a_problem_of_training_alone(
    packed: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray._private.utils.get_system_memory", lambda: 1_000_000)
    small = sets(f"data.url={packed[0]}", "model.refinements=3", "evaluate.enabled=false", "train.workers=1")
    small += ["--set", "train.batch_size=4", "--set", "pretrain.batch_size=4"]
    code, _, problems = dry(["--storage", str(tmp_path), *small], capsys)
    assert code == 2 and len(problems) == 1
    assert "train.batch_size=4: 1 workers need" in problems[0] and "this machine has 0.00 GB" in problems[0]


def test_what_is_behind_the_local_server_is_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    code, plan, problems = dry(["train", "--storage", str(tmp_path / "runs")], capsys)
    assert (code, problems) == (0, [])
    assert f"{load_config().data.url} on a local S3 server, which the job starts; birds are drawn" in plan
    assert not (tmp_path / "runs").exists()


def test_a_sweep_says_how_many_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, plan, _ = dry(["tune", "--storage", str(tmp_path), "--search", "tiny", "--trials", "3"], capsys)
    assert code == 0 and "sweep     3 trials of: " in plan and not list(tmp_path.iterdir())
