"""Tables of captions as people write them: read whole, or left out with the reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from datasets.manifest import load_captions, load_manifest
from datasets.packing.pack import main
from datasets.sources import coco, folder
from datasets.sources.options import PackOptions
from datasets.sources.records import Record, SourceError


def pictures(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * i, 90, 40)).save(root / name)
    return root


def jsonl(root: Path, *rows: dict[str, object]) -> None:
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(root: Path, **options: object) -> tuple[dict[str, tuple[str, ...]], list[tuple[str, str | None]]]:
    """Captions by image, and reasons with the caption."""
    source = folder.read(root, PackOptions(**options))  # type: ignore[arg-type]
    records = [record for record in source.records if isinstance(record, Record)]
    captions = {str(Path(record.image.name).relative_to(root)): record.captions for record in records}
    return captions, [(rejection.reason, rejection.caption) for rejection in source.rejected]


def packed(root: Path, *settings: str) -> tuple[int, Path]:
    sets = [part for setting in ("resolution=16", "processes=1", *settings) for part in ("--set", setting)]
    return main(["folder", str(root), str(root / "out"), *sets]), root / "out"


def test_a_row_with_more_fields_than_columns_is_left_out(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "captions.csv").write_text('image,caption\na.jpg,a red bird, with black wings\nb.jpg,"a bird, blue"\n')
    captions, rejected = read(tmp_path)
    assert captions == {"b.jpg": ("a bird, blue",)}
    assert rejected == [("has 3 fields for 2 columns; put a caption with commas in quotes", None)]


@pytest.mark.parametrize("columns", ["caption,text", "text,captions", "caption,caption"])
def test_two_columns_that_mean_the_caption_are_refused(tmp_path: Path, columns: str) -> None:
    (tmp_path / "captions.csv").write_text(f"image,{columns}\na.jpg,one,two\n")
    with pytest.raises(SourceError, match=f"{columns.replace(',', ' and ')} both mean caption"):
        folder.read(tmp_path)


def test_two_keys_that_mean_the_caption_leave_the_row_out(tmp_path: Path) -> None:
    jsonl(tmp_path, {"image": "a.jpg", "caption": "one", "text": "two"})
    (tmp_path / "captions.jsonl").open("a").write('{"image": "b.jpg", "caption": "one", "caption": "two"}\n')
    assert read(tmp_path)[1] == [
        ("caption and text both mean caption", None),
        ("caption and caption both mean caption", None),
    ]


@pytest.mark.parametrize(
    "value", [None, 12, float("nan"), ["a bird", None, 3], {"en": "a bird"}, [["a bird"]], "None", "nan"]
)
def test_what_is_no_caption_becomes_no_word(tmp_path: Path, value: object) -> None:
    jsonl(tmp_path, {"image": "a.jpg", "captions": value})
    captions, rejected = read(tmp_path)
    assert captions == {"a.jpg": ("a bird",) if isinstance(value, list) and value[0] == "a bird" else ()}
    assert rejected and all(
        reason in ("the caption is no text", "the caption stands for none") for reason, _ in rejected
    )


def test_a_mistake_in_a_csv_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text('image,caption\na.jpg,"one\ntwo"\nb.jpg,"three" four\n')
    with pytest.raises(SourceError, match=r"captions.csv, line 4: not CSV"):
        folder.read(tmp_path)


def test_tables_in_other_encodings(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    table = tmp_path / "captions.csv"
    for encoding in ("utf-16", "utf-8-sig"):
        table.write_text("image,caption\na.jpg,une tête\n", encoding=encoding)
        assert read(tmp_path)[0] == {"a.jpg": ("une tête",)}
    table.write_text("image,caption\na.jpg,une tête\n", encoding="cp1252")
    with pytest.raises(SourceError, match=r"captions.csv, line 2: not UTF-8 \(byte 0xea\); .*--set encoding=cp1252"):
        folder.read(tmp_path)
    assert read(tmp_path, encoding="cp1252")[0] == {"a.jpg": ("une tête",)}


def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "captions.jsonl")
    with pytest.raises(SourceError, match=r"captions.jsonl: not a file"):
        folder.read(tmp_path)


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
    assert [e.key for e in load_captions(str(tmp_path / "out"), "test").images] == ["a", "a_png", "a_webp"]


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
    assert sorted(load_captions(str(tmp_path / "out"), "test").class_names.values()) == ["class a", "class b"]


def test_coco_file_names_are_used_as_written_and_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    pictures(root, "train2014/a.png", "val2014/a.png")
    pictures(tmp_path, "secret.jpg")
    names = ("a.png", "../../secret.jpg", "a.png", "/etc/x")
    tree = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names, start=1)],
        "annotations": [
            {"image_id": 1, "caption": "a red picture"},
            {"image_id": 2, "caption": "not of this folder"},
            {"image_id": 3, "caption": None},
        ],
    }
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        (root / "annotations" / f"captions_{split}2014.json").write_text(json.dumps(tree))
    source = coco.read(root)
    records = [record for record in source.records if isinstance(record, Record)]
    assert [(r.split, Path(r.image.name).name, r.captions) for r in records] == [
        ("train", "a.png", ("a red picture",)),
        ("test", "a.png", ("a red picture",)),
    ]
    assert all(Path(record.image.name).exists() for record in records)
    reasons = [rejection.reason for rejection in source.rejected]
    assert reasons.count("the image is outside the folder") == 4 and reasons.count("the caption is no text") == 2
