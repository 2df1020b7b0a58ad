"""The paper's Figures 3 to 6 from trained runs."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dmgan.architectures import build_generator
from dmgan.config import load_config
from dmgan.launch import main
from dmgan.report.figures import grid_png
from dmgan.runs.run import Run


@pytest.fixture(scope="module")
def storage(untrained: tuple[Run, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`memory`, and `sentence`, which attends to no words."""
    folder = tmp_path_factory.mktemp("storage")
    shutil.copytree(untrained[0].url, folder / "memory")
    shutil.copytree(untrained[0].url, folder / "sentence")
    other, config = Run(str(folder / "sentence")), load_config(None, [*untrained[1], "model.architecture=stackgan"])
    torch.manual_seed(1)
    other.save_generator(build_generator(config.model), config, step=3, steps=3)
    other.write_config(config)
    return folder


def test_figures_of_runs_that_share_a_dataset(storage: Path, tmp_path: Path) -> None:
    arguments = ["figures", "--runs", "memory,sentence", "--storage", str(storage), "--count", "3"]
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {
        "figures.html",
        "figure-3.png",
        *(f"figure-{n}-{run}.png" for n in (4, 5) for run in ("memory", "sentence")),
        "figure-6-memory.png",
    }
    page = (tmp_path / "one" / "figures.html").read_text()
    assert page.count("<h2 ") == 6 and "written by the gate" in page and 'src="http' not in page
    assert main([*arguments, "--out", str(tmp_path / "two")]) == 0
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "two" / n).read_bytes() for n in names)
    assert main([*arguments, "--out", str(tmp_path / "three"), "--seed", "1"]) == 0
    one, three = ((tmp_path / folder / "figure-3.png").read_bytes() for folder in ("one", "three"))
    assert one != three


def test_a_run_is_called_by_its_label(storage: Path, tmp_path: Path) -> None:
    arguments = ["figures", "--runs", "DM-GAN=memory,sentence", "--storage", str(storage), "--count", "1"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "figure-6-DM-GAN.png").exists() and (tmp_path / "figure-5-sentence.png").exists()
    page = (tmp_path / "figures.html").read_text()
    assert "the stages of DM-GAN" in page and "the stages of memory" not in page


def test_mistakes_are_one_line(storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(storage / "memory", tmp_path / "memory")
    shutil.copytree(storage / "memory", tmp_path / "elsewhere")
    Run(str(tmp_path / "elsewhere")).write_config(
        load_config(Run(str(tmp_path / "memory")).read_config(), ["data.url=/another"])
    )
    for runs, more, message in (
        ("memory,none", (), "--runs none: no such run in "),
        ("memory,elsewhere", (), "elsewhere is of /another, memory of "),
        ("", (), "--runs: not given"),
        ("a=memory,a=memory", (), "--runs a=memory: expected RUN or LABEL=RUN, each label once"),
        ("a=", (), "--runs a=: expected RUN or LABEL=RUN"),
        ("memory", ("--count", "0"), "--count 0: expected at least 1"),
        ("memory", ("--caption", "qwertz"), "none of its words is in the vocabulary"),
    ):
        arguments = ["figures", "--runs", runs, "--storage", str(tmp_path), "--out", str(tmp_path / "out"), *more]
        assert main(arguments) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1 and message in said[0]
        assert not (tmp_path / "out").exists()


def test_a_grid_has_every_picture_in_its_place() -> None:
    red, blue = (np.full((16, 16, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 0, 200)))
    content = grid_png(["a", "b"], [("one", [red, blue]), ("two", [blue, red])], [["", ""], ["", ""]])
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    middle = [tuple(pixels[64 + 50 + 118 * r, 150 + 50 + 118 * c].tolist()) for r in (0, 1) for c in (0, 1)]
    assert middle == [(200, 0, 0), (0, 0, 200), (0, 0, 200), (200, 0, 0)]


def test_a_long_caption_is_not_cut() -> None:
    image = np.full((16, 16, 3), 9, np.uint8)

    def picture(header: str) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(grid_png([header], [("a", [image])], [[""]]))))

    short, long = picture("a bird"), picture("a very long caption " * 9)
    assert long.shape[0] > short.shape[0] == 64 + 112 + 12
    first = long.shape[0] - 112 - 12  # the row of pixels where the picture begins
    assert (long[first : first + 112, 150:262] == 9).all() and (long[first - 30 : first, 150:262] < 128).any()
