from __future__ import annotations

import io
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.errors import UserError
from dmgan import Request, TextToImage
from dmgan.architectures import build_generator
from dmgan.config import load_config
from dmgan.drawing import animation as animations
from dmgan.drawing.animation import animation
from dmgan.drawing.interpolation import frames_between, spherical
from dmgan.launch import main
from dmgan.runs.run import Run
from tests.small import ARCHITECTURES

A, B = "this bird is red", "a small blue bird with a long bill"


def steps(frames: list[np.ndarray]) -> list[float]:
    """How far each frame is from the one before, on average over the pixels."""
    return [float(np.abs(b - a).mean()) for a, b in pairwise(frames)]


def drawn(model: TextToImage, first: Request, last: Request, frames: int) -> list[np.ndarray]:
    return [np.asarray(frame).astype(int) for frame in frames_between(model, first, last, frames, batch_size=7)]


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_the_ends_are_the_pictures_of_the_captions_and_the_way_has_no_jump(
    untrained: tuple[Run, list[str]], architecture: str
) -> None:
    run = untrained[0]
    config = load_config(run.read_config(), ARCHITECTURES[architecture])
    torch.manual_seed(0)
    generator = build_generator(config.model).eval().requires_grad_(False)
    for weight in generator.to_image.parameters():
        weight.mul_(20)  # untrained pictures are nearly grey
    model = TextToImage("x", 0, config, generator, run.load_text_encoder(config), run.read_tokenizer(config))
    ends = [drawing.pixels[-1].astype(int) for drawing in model([A, B]).drawings]
    frames = drawn(model, Request(A), Request(B), 33)
    assert len(frames) == 33
    assert np.abs(frames[0] - ends[0]).max() <= 1 and np.abs(frames[-1] - ends[1]).max() <= 1
    whole = float(np.abs(ends[1] - ends[0]).mean())
    assert whole > 1 and max(steps(frames)) < whole / 4  # also to the second and from the last but one


def test_between_two_noises_of_a_caption(untrained: tuple[Run, list[str]]) -> None:
    model = TextToImage.from_run(untrained[0].url, device="cpu")
    ends = [drawing.pixels[-1].astype(int) for drawing in model([A], count=2).drawings]
    frames = drawn(model, Request(A), Request(A, 1), 9)
    assert np.abs(frames[0] - ends[0]).max() <= 1 and np.abs(frames[-1] - ends[1]).max() <= 1
    assert min(steps(frames)) > 0


def test_noise_keeps_its_length_on_the_way() -> None:
    first, last = (torch.randn(100, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    lengths = [float(values.norm()) for values in (first, last)]
    way = spherical(first, last, torch.linspace(0, 1, 11)[:, None])
    assert torch.allclose(way[0], first, atol=1e-6) and torch.allclose(way[-1], last, atol=1e-5)
    assert min(lengths) * 0.97 < float(way.norm(dim=1).min()) and float(way.norm(dim=1).max()) < max(lengths) * 1.03
    same = spherical(first, first, torch.tensor([[0.3]]))
    assert torch.allclose(same[0], first) and same.isfinite().all()
    assert spherical(first, torch.zeros(100), torch.tensor([[0.5]]))[0].isfinite().all()


@pytest.mark.parametrize("format", ["webp", "gif", "mp4"])
def test_an_animation_has_every_frame(format: str) -> None:
    frames = [Image.new("RGB", (64, 64), (20 * i, 128, 255 - 20 * i)) for i in range(10)]
    content = animation(iter(frames), format)
    if format == "mp4":
        av = pytest.importorskip("av")
        with av.open(io.BytesIO(content)) as container:
            shown = [np.asarray(frame.to_image()) for frame in container.decode(video=0)]
    else:
        with Image.open(io.BytesIO(content)) as file:
            assert file.n_frames == 10 and file.info["loop"] == 0
            shown = []
            for i in range(10):
                file.seek(i)
                shown.append(np.asarray(file.convert("RGB")))
    assert [pixels.shape for pixels in shown] == [(256, 256, 3)] * 10
    for pixels, frame in zip(shown, frames, strict=True):
        assert np.abs(pixels[100, 100].astype(int) - frame.getpixel((0, 0))).max() < 12


def test_the_missing_part_of_mp4_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match="--format mp4: PyAV is not installed"):
        animations.check_animation("mp4")


def generate(run: Run, *arguments: str) -> int:
    storage, name = run.url.rsplit("/", 1)
    return main(["generate", "--storage", storage, "--name", name, *arguments])


def test_the_command_writes_an_animation_and_says_so_when_it_replaces_one(
    untrained: tuple[Run, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--frames", "5", "--out", str(tmp_path)]
    assert generate(untrained[0], "--interpolate", A, B, *out) == 0
    assert generate(untrained[0], "--between-noises", A, "--format", "gif", *out) == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.count("5 frames in ") == 2
    names = ["this-bird-is-red-noises.gif", "this-bird-is-red-to-a-small-blue-bird-with-a-long-bill.webp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(Image.open(path).size == (256, 256) for path in tmp_path.iterdir())
    assert generate(untrained[0], "--between-noises", A, "--format", "gif", *out) == 0
    assert "is replaced" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interpolate", A, B, "--count", "3"], "--count: does not go with --interpolate"),
        (["--interpolate", A, B, "--caption", A], "--caption: does not go with --interpolate"),
        (["--interpolate", A, B, "--between-noises", A], "--between-noises: does not go with --interpolate"),
        (["--between-noises", A, "--stages"], "--stages: does not go with --between-noises"),
        (["--interpolate", A, B, "--format", "png"], "--format png: expected webp, gif, mp4 of an animation"),
        (["--caption", A, "--format", "mp4"], "--format mp4: expected png, webp, jpeg of pictures"),
        (["--caption", A, "--frames", "9"], "--frames: goes with --interpolate and --between-noises"),
        (["--interpolate", A, B, "--frames", "1"], "--frames 1: expected at least 2"),
        (["--interpolate", A, B, "--frames", "9999"], "--frames 9999: expected at most 3600"),
        (["--interpolate", A, "zebra"], "--interpolate: caption 'zebra': none of its words is in the vocabulary"),
        (["--interpolate", A], "--interpolate: expected 2 arguments"),
    ],
)
def test_what_cannot_be_animated_is_one_line(
    untrained: tuple[Run, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert generate(untrained[0], *arguments, "--out", str(tmp_path / "out")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "out").exists()
