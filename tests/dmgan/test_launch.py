"""Mistakes on the command line: one line that names them, exit code 2, nothing left behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from datasets.manifest import Manifest
from dmgan.launch import main

NO_S3 = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "s3cret"}


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("dmgan: "), lines
    return lines[0].removeprefix("dmgan: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nowhere"], "--config nowhere: neither a preset"),
        (["--set", "train.batchsize=3"], "train.batchsize: unknown key; did you mean train.batch_size?"),
        (["--set", "train.max_steps=soon"], "train.max_steps='soon': input should be a valid integer"),
        (["--workers", "0"], "train.workers=0: input should be greater than 0"),
        (["--config", "cub"], "pretrain.inception_weights: not set; expected the path of torchvision's ImageNet"),
        (
            ["--config", "cub", "--set", "model.image_encoder=compact", "--set", "evaluate.enabled=false"],
            "data.url: not set; expected a packed dataset",
        ),
        (["--set", "data.url=gs://bucket/x"], "gs://bucket/x"),
        (["evaluate"], "generator.json: not found; run `python -m dmgan.launch train` first"),
        (["generate"], "generate: no captions; give --caption TEXT or --captions FILE"),
        (["generate", "--caption", "a red bird"], "vocabulary.json: not found"),
        (["generate", "--captions", "nowhere.txt"], "--captions nowhere.txt: not found"),
        (["--storage", "ftp://host/x"], "unknown scheme 'ftp'"),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = [] if "--storage" in arguments else ["--storage", str(tmp_path / "runs")]
    assert message in refused([*arguments, *where], capsys)


def test_an_unreachable_bucket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in NO_S3.items():
        monkeypatch.setenv(key, value)
    line = refused(["--storage", str(tmp_path)], capsys)
    assert line.startswith("s3://dmgan/drawn-birds/manifest.json: cannot be reached at http://127.0.0.1:9")
    assert "s3cret" not in line


def test_a_missing_dataset_and_a_missing_shard(
    packed: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--storage", str(tmp_path / "runs"), "--set", "data.draw_birds=false", "--set"]
    empty = str(tmp_path / "empty")
    assert "manifest.json: not found; pack the dataset first" in refused([*arguments, f"data.url={empty}"], capsys)
    shutil.copytree(packed[0], tmp_path / "copy")
    (tmp_path / "copy" / "train-000001.tar").unlink()
    line = refused([*arguments, f"data.url={tmp_path / 'copy'}", "--name", "second"], capsys)
    assert "train-000001.tar: not found" in line


def test_a_dataset_of_another_resolution_or_too_small(
    packed: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--storage", str(tmp_path), "--set", f"data.url={packed[0]}"]
    line = refused([*arguments, "--set", "model.base_size=32"], capsys)
    assert "give 128 pixels, but" in line and "was packed for 64" in line


def test_a_run_is_not_resumed_with_another_configuration(
    packed: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--storage", str(tmp_path), "--set", f"data.url={packed[0]}", "--set", "model.base_size=32"]
    refused(arguments, capsys)
    line = refused([*arguments, "--set", "model.memory=m"], capsys)
    assert line.startswith("model: run quickstart was started with memory=m_wg_rg, not m;")


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("pretrain", "evaluate", "generate", "report", "--storage", "quickstart"))
    with pytest.raises(SystemExit) as ended:
        main(["dance"])
    assert ended.value.code == 2
