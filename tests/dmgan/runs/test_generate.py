from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from dmgan.config import ConfigError, load_config
from dmgan.launch import main
from dmgan.model.build import build_encoders
from dmgan.model.text_encoders import learn_tokenizer
from dmgan.runs.run import Run

RED = "this bird is red"


def generate(untrained: tuple[Run, list[str]], out: Path, *arguments: str) -> int:
    storage, name = untrained[0].url.rsplit("/", 1)
    return main(["generate", "--storage", storage, "--name", name, "--out", str(out), *arguments])


def test_what_is_not_read_of_captions_is_said(
    untrained: tuple[Run, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "captions").write_text(f"{RED} brid\nnothing known\nthis blakc bird is reed and blakc\n" + "red " * 30)
    assert generate(untrained, tmp_path / "out", "--captions", str(tmp_path / "captions")) == 0
    said = capsys.readouterr()
    start = ("red " * 15)[:60]
    assert said.err.splitlines() == [
        "dmgan: warning: caption 'nothing known': none of its words is in the vocabulary; nothing is drawn of it",
        f"dmgan: warning: caption {start!r}…: cut to evaluate.max_words=18 of its 30 tokens",
        "dmgan: warning: not in the vocabulary and left out: brid, blakc, reed",
    ]
    assert said.out.startswith(f"3 images in {tmp_path / 'out'}, all captions in {tmp_path / 'out' / 'grid.png'}")
    assert len(list((tmp_path / "out").glob("0*.png"))) == 3


@pytest.mark.parametrize(
    ("kind", "pieces", "unknown"),
    [("bpe", {"red", "b", "##q", "##0"}, None), ("characters", {"r", "e", "d", "␣", "b"}, "q, 0")],
)
def test_captions_are_drawn_with_each_tokenizer_and_their_pieces_shown(
    untrained: tuple[Run, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    pieces: set[str],
    unknown: str | None,
) -> None:
    shutil.copytree(untrained[0].url, tmp_path / "run")
    run, config = Run(str(tmp_path / "run")), load_config(None, [*untrained[1], f"text.tokenizer={kind}"])
    tokenizer = learn_tokenizer(config)
    run.save_encoders(build_encoders(config.model, len(tokenizer)), tokenizer)
    run.write_config(config)
    assert generate((run, untrained[1]), tmp_path / "out", "--caption", "red bq0") == 0
    said = capsys.readouterr().err
    assert said == ("" if unknown is None else f"dmgan: warning: not in the vocabulary and left out: {unknown}\n")
    words = (tmp_path / "out" / "words.txt").read_text(encoding="utf-8")
    assert set(re.findall(r"[:,] (\S+) \d\.", words)) == pieces


def test_a_caption_of_which_nothing_is_known_is_refused(
    untrained: tuple[Run, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(untrained, tmp_path / "out", "--caption", "zebra") == 2
    assert "caption 'zebra': none of its words is in the vocabulary" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_of_another_call_are_not_mixed_in(
    untrained: tuple[Run, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(untrained, tmp_path, "--caption", RED, "--count", "2") == 0
    assert generate(untrained, tmp_path, "--caption", RED, "--count", "2", "--seed", "1") == 0  # the same names
    assert generate(untrained, tmp_path, "--caption", "a blue bird") == 2
    assert f"--out {tmp_path}: holds other images (000-this-bird-is-red-00.png)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["generator", "encoders"])
def test_weights_that_are_no_numbers_are_refused(untrained: tuple[Run, list[str]], tmp_path: Path, name: str) -> None:
    shutil.copytree(untrained[0].url, tmp_path / "run")
    path = tmp_path / "run" / f"{name}.safetensors"
    tensors = safetensors.torch.load_file(path)
    key = next(key for key, tensor in tensors.items() if tensor.is_floating_point())
    tensors[key].view(-1)[0] = torch.nan
    safetensors.torch.save_file(tensors, path)
    run = Run(str(tmp_path / "run"))
    with pytest.raises(ConfigError, match=rf"{name}.safetensors: damaged or not of this model: .*no numbers"):
        run.load_generator() if name == "generator" else run.load_encoders(load_config(None, untrained[1]))
