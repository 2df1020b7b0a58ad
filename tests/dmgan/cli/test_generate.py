from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import webdataset
from PIL import Image

from dmgan import Request, TextToImage
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


def test_files_of_an_earlier_call_are_replaced_with_a_word(
    untrained: tuple[Run, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(untrained, tmp_path, "--caption", RED) == 0
    assert capsys.readouterr().err == ""
    before = (tmp_path / "000-this-bird-is-red-00.png").read_bytes()
    assert generate(untrained, tmp_path, "--caption", RED, "--seed", "1") == 0
    assert f"--out {tmp_path}: 2 files of an earlier call are replaced" in capsys.readouterr().err
    assert (tmp_path / "000-this-bird-is-red-00.png").read_bytes() != before


@pytest.mark.parametrize("format", ["webp", "jpeg"])
def test_stages_are_kept_in_each_format_and_the_grid_has_a_column_a_noise(
    untrained: tuple[Run, list[str]], tmp_path: Path, format: str
) -> None:
    more = ["--count", "2", "--stages", "--format", format, "--batch-size", "3"]
    assert generate(untrained, tmp_path, "--caption", RED, "--caption", "a bird", *more) == 0
    sizes = [16, 32, 64]
    for stage, size in enumerate(sizes):
        files = sorted(tmp_path.glob(f"*.stage{stage}.{format}"))
        assert len(files) == 4 and all(Image.open(file).size == (size, size) for file in files)
    exact = TextToImage.from_run(untrained[0].url, device="cpu")([RED], count=2).drawings[1].pixels[-1]
    kept = np.asarray(Image.open(tmp_path / f"000-this-bird-is-red-01.{format}").convert("RGB"))
    assert np.abs(kept.astype(int) - exact).mean() < 6  # what the format costs
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (210 + 6 * 134, 2 * 134 + 6)  # three stages of two noises


def test_shards_hold_the_same_pictures_with_captions_and_records_beside_them(
    untrained: tuple[Run, list[str]], tmp_path: Path
) -> None:
    captions = ["--caption", f"{RED} zzz", "--caption", "a bird", "--count", "3", "--truncation", "0.7"]
    assert generate(untrained, tmp_path / "tars", *captions, "--shards", "4") == 0
    assert generate(untrained, tmp_path / "files", *captions, "--batch-size", "1") == 0
    shards = sorted((tmp_path / "tars").glob("*.tar"))
    assert [shard.name for shard in shards] == [f"shard-00000{i}.tar" for i in range(4)]
    numbers = [sum(1 for _ in webdataset.WebDataset(str(shard), shardshuffle=False)) for shard in shards]
    assert numbers == [1, 2, 1, 2]
    samples = list(webdataset.WebDataset([str(shard) for shard in shards], shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"{i:08d}" for i in range(6)]
    files = sorted((tmp_path / "files").glob("0*.png"))
    for sample, file in zip(samples, files, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(sample["png"]))).astype(int)
        assert np.abs(pixels - np.asarray(Image.open(file))).max() <= 1
    record = json.loads(samples[1]["json"])
    assert samples[1]["txt"].decode() == record["caption"] == f"{RED} zzz"
    assert {key: record[key] for key in ("number", "seed", "truncation", "unknown_words", "run", "step")} == {
        "number": 1, "seed": 0, "truncation": 0.7, "unknown_words": ["zzz"], "run": "untrained", "step": 3,
    }  # fmt: skip
    assert record["words"] == RED.split() and all(len(gates) == 4 for gates in record["writing_gates"])


def test_shards_of_another_call_are_not_mixed_in(
    untrained: tuple[Run, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(untrained, tmp_path, "--caption", RED, "--count", "2", "--shards", "2") == 0
    assert generate(untrained, tmp_path, "--caption", RED, "--count", "2", "--shards", "1") == 2
    assert f"--out {tmp_path}: holds other files (shard-000001.tar)" in capsys.readouterr().err


def test_choices_in_braces_are_drawn_of_one_noise_with_labels(
    untrained: tuple[Run, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = "a {small,large} bird is {red,blue,yellow}"
    assert generate(untrained, tmp_path, "--vary", template, "--count", "2") == 0
    assert capsys.readouterr().out.startswith("12 images in ")
    names = sorted(file.name for file in tmp_path.glob("0*.png"))
    assert names[:2] == ["000-a-small-bird-is-red-00.png", "000-a-small-bird-is-red-01.png"]
    assert names[-1] == "005-a-large-bird-is-yellow-01.png"
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (210 + 3 * 134, 24 + 4 * 134 + 6)  # a line for each of two sizes and noises
    model = TextToImage.from_run(untrained[0].url, device="cpu")
    caption = "a large bird is blue"
    (drawing,) = model.draw([Request(caption, 1, noise_caption=template)])
    kept = np.asarray(Image.open(tmp_path / "004-a-large-bird-is-blue-01.png")).astype(int)
    assert np.abs(kept - drawing.pixels[-1]).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vary", "a red bird"], "--vary a red bird: expected choices in braces, such as {red,blue}, none nested"),
        (["--vary", "a {red,{b,c}} bird"], "expected choices in braces"),
        (["--vary", "a {red} bird"], "--vary {red}: expected two different choices or more"),
        (["--vary", "{a,b}" * 13], "makes 8192 captions; expected at most 4096"),
        (["--vary", "{zebra,red}"], "--vary: caption 'zebra': none of its words is in the vocabulary"),
        (["--vary", "{red,blue}", "--caption", RED], "--caption: does not go with --vary"),
        (["--caption", RED, "--batch-size", "0"], "--batch-size 0: expected at least 1"),
        (["--caption", RED, "--shards", "0"], "--shards 0: expected at least 1"),
        (["--caption", RED, "--shards", "2"], "--shards 2: expected at most 1, the pictures that are made"),
        (["--caption", RED, "--seed", "-1"], "--seed -1: expected at least 0"),
        (["--caption", RED, "--truncation", "0"], "truncation=0.0: expected a number above 0"),
        (["--caption", RED, "--device", "tpu9"], "device=tpu9: unknown; expected cpu, cuda or cuda:NUMBER"),
        (["--caption", RED, "--step", "12"], "no checkpoint of step 12; there are: none"),
        (["--caption", RED, "--format", "bmp"], "--format bmp: expected png, webp, jpeg of pictures"),
    ],
)
def test_what_cannot_be_generated_is_one_line_and_nothing_is_written(
    untrained: tuple[Run, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert generate(untrained, tmp_path / "out", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dmgan: ") and message in line
    assert not (tmp_path / "out").exists()


def test_what_stands_in_the_way_of_the_folder_is_named(
    untrained: tuple[Run, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file")
    assert generate(untrained, tmp_path / "out", "--caption", RED) == 2
    assert f"{tmp_path / 'out'}" in capsys.readouterr().err


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
