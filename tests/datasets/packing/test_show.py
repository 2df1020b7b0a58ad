"""What people look at before they train: a dry run and the page of a packed dataset."""

from __future__ import annotations

import base64
import html
import json
import re
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from datasets.captions import load_captions
from datasets.manifest import Manifest
from datasets.packing.command import main as pack
from datasets.packing.show import main as show


def write_source(root: Path, count: int = 12) -> Path:
    """Pictures twice as wide as high, of two classes, one of which cannot be read."""
    root.mkdir()
    rows = []
    for i in range(count):
        Image.new("RGB", (80, 40), (20 * i, 100, 50)).save(root / f"p{i}.png")
        split = "test" if i % 4 == 0 else "train"
        captions = [f"picture number {i}", "a picture of <b>one</b> colour"]
        rows.append({"image": f"p{i}.png", "captions": captions, "split": split, "class": f"c{i % 2}"})
    (root / "p3.png").write_bytes(b"no image")
    (root / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root


def test_a_dry_run_says_what_would_be_packed_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path / "source")
    before = sorted(path.name for path in source.iterdir())
    assert pack([str(source), "--dry-run", "--batch-size", "4", "--set", "processes=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "format: folder (captions.jsonl is there)"
    assert "train: 8 images, 16 captions, 2 classes" in lines and "test: 3 images, 6 captions, 1 classes" in lines
    assert "an epoch: 2 steps of 4 images" in lines and "captions: 3 to 7 words, half of them 3 or fewer" in lines
    assert "vocabulary: 18 words" in lines and "rejected: 1 of 12 images and 24 captions" in lines
    assert any(line.startswith(f"  {source}/p3.png: not a readable image") for line in lines)
    assert any("leaves 50% of its pixels out on average" in line for line in lines)
    assert sorted(path.name for path in source.iterdir()) == before
    assert list(tmp_path.iterdir()) == [source]


def test_the_page_shows_stored_images_with_their_captions(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert show([packed[0], "--out", str(out), "--images", "5"]) == 0
    page = out.read_text()
    pictures = re.findall(r'<img alt="([^"]*)" src="data:image/jpeg;base64,([^"]*)">', page)
    captions = {e.captions[0] for split in ("train", "test") for e in load_captions(packed[0], split)}
    assert len(pictures) == 10 and all(html.unescape(alt) in captions for alt, _ in pictures)
    assert all(base64.b64decode(content).startswith(b"\xff\xd8\xff") for _, content in pictures)
    assert "Words a caption" in page and "5 of 40 images, drawn at random; 10.0 captions an image, 8 classes" in page
    assert "http://" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)  # nothing is fetched


def test_no_text_of_a_dataset_is_markup_in_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "source")
    settings = ["--set", "resolution=32", "--set", "max_rejected=0.5", "--set", "processes=1"]
    assert pack([str(source), str(tmp_path / "out"), *settings]) == 0
    assert show([str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "dataset.html").read_text()
    assert "<b>one</b>" not in page and "&lt;b&gt;one" in page
    capsys.readouterr()
    assert show([str(tmp_path / "out"), "--images", "0"]) == 2
    assert show([str(tmp_path / "nothing")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "--images 0" in errors[0] and "pack the dataset first" in errors[1]


@pytest.mark.parametrize(
    ("fit", "sizes", "notes"),
    [
        ("crop", {(38 * 4, 38), (76, 38)}, ["1 images are longer than 4:1", "leaves"]),
        ("pad", {(38, 38)}, []),
        ("squash", {(38, 38)}, []),
    ],
)
def test_images_that_are_no_squares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fit: str, sizes: set[tuple[int, int]], notes: list[str]
) -> None:
    source = write_source(tmp_path / "source")
    Image.new("RGB", (4000, 20), "red").save(source / "p3.png")
    assert (
        pack(
            [
                str(source),
                str(tmp_path / "out"),
                "--set",
                "resolution=32",
                "--set",
                f"fit={fit}",
                "--set",
                "processes=1",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert all(note in said for note in notes) and ("note:" in said) == bool(notes)
    found = set()
    for path in (tmp_path / "out").glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    found.add(Image.open(tar.extractfile(member)).size)  # type: ignore[arg-type]
    assert found == sizes


def test_a_fit_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack([str(write_source(tmp_path / "source")), str(tmp_path / "out"), "--set", "fit=stretch"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "fit=stretch" in line and "crop" in line
