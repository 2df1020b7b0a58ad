"""What packing makes of the tables that people write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from datasets.captions import load_captions
from datasets.manifest import load_manifest
from datasets.packing.command import main


def pictures(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * i, 90, 40)).save(root / name)
    return root


def jsonl(root: Path, *rows: dict[str, object]) -> None:
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def packed(root: Path, *settings: str) -> tuple[int, Path]:
    sets = [part for setting in ("resolution=16", "processes=1", *settings) for part in ("--set", setting)]
    return main(["folder", str(root), str(root / "out"), *sets]), root / "out"


def test_when_every_row_is_left_out_the_first_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path, "a.jpg")
    jsonl(tmp_path, {"image": str((tmp_path / "a.jpg").resolve()), "captions": ["red"]})
    code, out = packed(tmp_path)
    said = capsys.readouterr().err
    assert code == 2 and "the first: " in said and "is an absolute path; expected one within the folder" in said
    assert "absolute path" in (out / "rejected.jsonl").read_text() and not (out / "manifest.json").exists()


def test_a_few_images_have_a_test_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{i}.jpg" for i in range(10)]
    pictures(tmp_path, *names)
    jsonl(tmp_path, *({"image": name, "captions": [f"picture number {name}"]} for name in names))
    assert packed(tmp_path)[0] == 0
    splits = load_manifest(str(tmp_path / "out"))[0].splits
    assert splits["test"].samples >= 1 and splits["train"].samples + splits["test"].samples == 10


def test_no_test_images_is_said_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    jsonl(tmp_path, *({"image": name, "captions": ["red"], "split": "train"} for name in ("a.jpg", "b.jpg")))
    assert packed(tmp_path)[0] == 0
    assert "note: there are no test images: training on it needs evaluate.enabled=false" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["val", "validation", "dev", "Valid"])
def test_validation_is_the_test_split_where_there_is_no_other(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    jsonl(
        tmp_path,
        {"image": "a.jpg", "captions": ["red"], "split": "Train"},
        {"image": "b.jpg", "captions": ["blue"], "split": name},
    )
    assert packed(tmp_path)[0] == 0
    manifest = load_manifest(str(tmp_path / "out"))[0]
    assert list(manifest.splits) == ["train", "test"]
    assert "note: 1 validation images are the test split" in capsys.readouterr().out
    assert manifest.notes == ("1 validation images are the test split: there is no other",)


def test_validation_beside_test_is_not_used(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    splits = {"a.jpg": "train", "b.jpg": "val", "c.jpg": "test"}
    jsonl(tmp_path, *({"image": name, "captions": ["red"], "split": split} for name, split in splits.items()))
    assert packed(tmp_path)[0] == 0
    assert set(load_manifest(str(tmp_path / "out"))[0].splits) == {"train", "test", "validation"}


def test_images_of_one_name_and_other_suffixes_are_both_packed(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "a.png", "a.webp")
    jsonl(
        tmp_path,
        *({"image": name, "captions": [f"{name[2:]} file"], "split": "test"} for name in ("a.jpg", "a.png", "a.webp")),
    )
    assert packed(tmp_path)[0] == 0
    assert [e.key for e in load_captions(str(tmp_path / "out"), "test")] == ["a", "a_png", "a_webp"]


def test_one_class_becomes_a_class_for_each_image(tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(4)]
    pictures(tmp_path, *names)
    jsonl(tmp_path, *({"image": name, "captions": ["red"], "class": "bird", "split": "train"} for name in names))
    assert packed(tmp_path)[0] == 0
    manifest = load_manifest(str(tmp_path / "out"))[0]
    assert manifest.splits["train"].classes == 4 and any("of one class" in note for note in manifest.notes)


def test_classes_keep_their_names(tmp_path: Path) -> None:
    pictures(tmp_path, "images/a.jpg", "images/b.jpg")
    jsonl(
        tmp_path,
        *({"image": f"images/{n}.jpg", "captions": ["red"], "class": f"class {n}", "split": "test"} for n in "ab"),
    )
    assert packed(tmp_path)[0] == 0
    assert sorted(e.class_name for e in load_captions(str(tmp_path / "out"), "test")) == ["class a", "class b"]
