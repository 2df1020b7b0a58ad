from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
import yaml
from PIL import Image

from dmgan import Request, TextToImage
from dmgan.architectures import build_generator
from dmgan.config import ConfigError, load_config
from dmgan.drawing.request import random_numbers
from dmgan.export import networks
from dmgan.export.networks import network_files
from dmgan.launch import main
from dmgan.runs.run import Run
from tests.small import ARCHITECTURES

ROOT = Path(__file__).parents[3]
RED, BLUE = "this bird is red", "a small blue bird with a long bill"


def export(run: Run, out: Path, *arguments: str) -> int:
    storage, name = run.url.rsplit("/", 1)
    return main(["export", "--storage", storage, "--name", name, "--out", str(out), *arguments])


@pytest.fixture(scope="module")
def exported(untrained: tuple[Run, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    out = tmp_path_factory.mktemp("exported")
    run = Run(str(tmp_path_factory.mktemp("not-evaluated") / "untrained"))  # other tests evaluate the shared one
    shutil.copytree(untrained[0].url, run.url, ignore=shutil.ignore_patterns("evaluation*"))
    formats = ["--format", "onnx", "--format", "torchscript", "--format", "safetensors"]
    assert export(run, out, *formats, "--license", "mit", "--caption", RED) == 0
    return out


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_the_network_draws_the_same_pictures_from_the_shipped_tokenizer(
    exported: Path, untrained: tuple[Run, list[str]], format: str
) -> None:
    model = TextToImage.from_run(untrained[0].url, device="cpu")
    requests = [Request(caption, number) for caption in (RED, BLUE, f"{RED} zzz") for number in range(2)]
    noise, eps = random_numbers(requests, model.generator.noise_dim, model.generator.condition_dim)
    ours = model.render(model.encode([request.caption for request in requests]), noise, eps).images
    tokenizer = tokenizers.Tokenizer.from_file(str(exported / "tokenizer.json"))
    ids = np.array([tokenizer.encode(request.caption).ids for request in requests])
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(exported / "model.onnx")
        theirs = session.run(None, {"ids": ids, "noise": noise.numpy(), "eps": eps.numpy()})
    else:
        with torch.no_grad():
            theirs = torch.jit.load(exported / "model.torchscript.pt")(torch.from_numpy(ids), noise, eps)
    assert len(theirs) == len(model.resolutions)
    for images, expected in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(np.asarray(images), expected.numpy(), atol=1e-4)


def test_the_folder_is_a_run_that_draws_the_same(exported: Path, untrained: tuple[Run, list[str]]) -> None:
    first, second = (TextToImage.from_run(url, device="cpu") for url in (untrained[0].url, str(exported)))
    pictures = [model([RED], count=2).drawings[1].pixels[-1] for model in (first, second)]
    assert np.array_equal(*pictures)
    assert second.config.data.url == "" and str(untrained[0].url) not in (exported / "run.yaml").read_text()


def test_the_cards_head_and_what_it_says_of_loading(exported: Path, tmp_path: Path) -> None:
    text = (exported / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "mit" and "text-to-image" in yaml.safe_load(head)["tags"]
    assert (
        "The run has no evaluation" in body
        and "None" not in body.replace("run(None", "")
        and "evaluate.max_words" not in body
    )
    with Image.open(exported / "samples.png") as picture:
        assert picture.width > 500
    blocks = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        (exported / "picture.png").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=exported, env={"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
        with Image.open(exported / "picture.png") as picture:
            assert picture.size == (64, 64)
    (exported / "picture.png").unlink()


@pytest.mark.parametrize("architecture", ["attngan", "stackgan", "gan-int-cls"])
def test_other_architectures_become_torchscript(untrained: tuple[Run, list[str]], architecture: str) -> None:
    run = untrained[0]
    config = load_config(run.read_config(), ARCHITECTURES[architecture])
    generator = build_generator(config.model).eval()
    model = TextToImage("x", 0, config, generator, run.load_text_encoder(config), run.read_tokenizer(config))
    assert len(network_files(model, "torchscript")["model.torchscript.pt"]) > 1000  # which is compared with ours


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "tflite"], "--format tflite: expected onnx, torchscript, safetensors"),
        (["--step", "9"], "no checkpoint of step 9; there are: none"),
        (["--caption", "zebra"], "caption 'zebra': none of its words is in the vocabulary"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_nothing_is_written(
    untrained: tuple[Run, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert export(untrained[0], tmp_path / "out", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "out").exists()


def test_folders_of_others_are_left_alone_and_an_earlier_export_is_replaced_with_a_word(
    untrained: tuple[Run, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert export(untrained[0], tmp_path) == 2
    assert "holds other files (thesis.tex); choose an empty folder" in capsys.readouterr().err
    run = Path(untrained[0].url)
    assert export(untrained[0], run) == 2
    capsys.readouterr()
    (tmp_path / "thesis.tex").unlink()
    assert export(untrained[0], tmp_path) == 0
    assert export(untrained[0], tmp_path, "--license", "mit") == 0
    assert "files of an earlier export are replaced" in capsys.readouterr().err


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="onnx is not installed; pip install onnx onnxscript onnxruntime"):
        networks.check_format("onnx")
