"""Tables of captions as people write them: read whole, or left out with the reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from datasets.sources import folder, imagefolder
from datasets.sources.options import PackOptions
from datasets.sources.records import Note, Record, Rejection, SourceError, records_of


def pictures(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * i, 90, 40)).save(root / name)
    return root


def jsonl(root: Path, *rows: dict[str, object]) -> None:
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(root: Path, **options: object) -> tuple[dict[str, tuple[str, ...]], list[tuple[str, str | None]]]:
    """Captions by image, and reasons with the caption."""
    entries = list(folder.read(root, PackOptions(**options)).entries)  # type: ignore[arg-type]
    captions = {
        str(Path(entry.image.name).relative_to(root)): entry.captions for entry in entries if isinstance(entry, Record)
    }
    return captions, [(entry.reason, entry.caption) for entry in entries if isinstance(entry, Rejection)]


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


def test_rows_of_an_image_are_read_together_wherever_they_are(tmp_path: Path) -> None:
    names = [f"images/{i}.jpg" for i in range(200)]
    rows = [
        {"image": f"./{name}" if turn else name, "caption": f"{turn} of {name}"} for turn in (0, 1) for name in names
    ]
    rows[7] |= {"split": "test", "class": 3}
    rows[207] |= {"box": [1, 2, 3, 4]}
    contradicting = [
        {"image": names[7], "caption": "left out", "split": "train"},
        {"image": names[7], "caption": "left out", "class": "x"},
        {"image": names[7], "caption": "left out", "box": [1, 2, 3, 5]},
    ]
    jsonl(tmp_path, *rows, *contradicting)
    source = folder.read(tmp_path)
    records = records_of(source)
    assert [record.image.name for record in records] == [str(tmp_path / name) for name in names]
    assert all(r.captions == (f"0 of {name}", f"1 of {name}") for r, name in zip(records, names, strict=True))
    seven = records[7]
    assert (seven.split, seven.class_name, seven.box, seven.upright) == ("test", "3", (1.0, 2.0, 3.0, 4.0), False)
    assert all((r.split, r.class_name, r.box, r.upright) == ("", "", None, True) for r in records if r is not seven)
    assert [(e.image, e.reason) for e in source.entries if isinstance(e, Rejection)] == [
        (f"{tmp_path}/captions.jsonl, line 401", f"{names[7]}: split 'train' contradicts an earlier row's 'test'"),
        (f"{tmp_path}/captions.jsonl, line 402", f"{names[7]}: class 'x' contradicts an earlier row's '3'"),
        (
            f"{tmp_path}/captions.jsonl, line 403",
            f"{names[7]}: box (1.0, 2.0, 3.0, 5.0) contradicts an earlier row's (1.0, 2.0, 3.0, 4.0)",
        ),
    ]


@pytest.mark.parametrize(("between", "called"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
def test_a_csv_with_other_separators_is_read_and_said(tmp_path: Path, between: str, called: str) -> None:
    rows = (("image", "caption"), ("a.jpg", "red, with black wings"), ("a.jpg", '"quoted, twice"'))
    (tmp_path / "captions.csv").write_text("".join(between.join(row) + "\n" for row in rows))
    assert read(tmp_path)[0] == {"a.jpg": ("red, with black wings", "quoted, twice")}
    (note,) = (entry.text for entry in folder.read(tmp_path).entries if isinstance(entry, Note))
    assert note == f"{tmp_path}/captions.csv: its columns are taken to be separated by {called}"


def test_another_column_of_captions_is_named(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("file_name,prompt,text\na.jpg,red,blue\n")
    assert read(tmp_path)[0] == {"a.jpg": ("blue",)}
    assert read(tmp_path, caption_column="prompt")[0] == {"a.jpg": ("red",)}
    with pytest.raises(SourceError, match=r"csv: has no column title; its columns are file_name, prompt, text"):
        folder.read(tmp_path, PackOptions(caption_column="title"))
    (tmp_path / "captions.csv").unlink()
    jsonl(tmp_path, {"image": "a.jpg", "prompt": "red"})
    with pytest.raises(SourceError, match=r"found image, prompt; --set caption_column=NAME"):
        folder.read(tmp_path)
    assert read(tmp_path, caption_column="prompt")[0] == {"a.jpg": ("red",)}


def test_a_folders_table_is_named_when_it_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected one of captions.jsonl, .* found none"):
        folder.read(tmp_path)
    (tmp_path / "captions.csv").write_text("path,words\na,b\n")
    with pytest.raises(SourceError, match=r"captions.csv: expected the columns image and caption, found path, words"):
        folder.read(tmp_path)
    (tmp_path / "captions.csv").write_text("")
    with pytest.raises(SourceError, match=r"captions.csv: is empty; expected the columns image and caption"):
        folder.read(tmp_path)
    (tmp_path / "more.jsonl").write_text('{"image": "a.png", "captions": ["b"]}\nnonsense\n')
    with pytest.raises(SourceError, match=r"more.jsonl, line 2: not JSON"):
        folder.read(tmp_path, PackOptions(captions="more.jsonl"))
    with pytest.raises(SourceError, match=r"captions=x.txt: expected a .jsonl or .csv file"):
        folder.read(tmp_path, PackOptions(captions="x.txt"))


def test_a_long_table_is_decoded_across_its_blocks(tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    rows = [f"{i}.jpg,{'é' * (i % 70)} bird {i}" for i in range(40_000)]
    for encoding in ("utf-8", "utf-16"):
        table.write_text("\n".join(["image,caption", *rows]), encoding=encoding)
        captions, rejected = read(tmp_path)
        assert not rejected and [f"{name},{text}" for name, (text,) in captions.items()] == [
            row.replace(", ", ",") for row in rows
        ]
    table.write_bytes("\n".join(["image,caption", *rows]).encode() + "\nx.jpg,tête".encode("cp1252"))
    with pytest.raises(SourceError, match=r"line 40002: not UTF-8 \(byte 0xea\)"):
        read(tmp_path)


# Hugging Face's imagefolder -------------------------------------------------------------------------------------------


def hub(root: Path, **options: object) -> list[tuple[str, tuple[str, ...], str, str]]:
    records = records_of(imagefolder.read(root, PackOptions(**options)))  # type: ignore[arg-type]
    return [(str(Path(r.image.name).relative_to(root)), r.captions, r.split, r.class_name) for r in records]


def test_one_table_of_images_in_folders_of_splits_and_classes(tmp_path: Path) -> None:
    rows = [{"file_name": "train/cat/a.jpg", "text": "one"}, {"file_name": "test/images/b.jpg", "text": ["two", "2"]}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert hub(tmp_path) == [
        ("train/cat/a.jpg", ("one",), "train", "cat"),
        ("test/images/b.jpg", ("two", "2"), "test", ""),
    ]
    notes = [entry.text for entry in imagefolder.read(tmp_path).entries if isinstance(entry, Note)]
    assert notes == [
        "the images' sub-folders are their classes, such as cat; --set class_folders=false where they are none"
    ]
    assert {row[3] for row in hub(tmp_path, class_folders=False)} == {""}


def test_a_table_in_parquet_and_other_names_of_its_columns(tmp_path: Path) -> None:
    rows = [{"image_file_name": "a.jpg", "mask_file_name": "m.png", "prompt": "red", "split": "val"}]
    (tmp_path / "train").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train" / "metadata.parquet")
    with pytest.raises(
        SourceError, match=r"the columns image_file_name, mask_file_name name images; choose one by --set"
    ):
        hub(tmp_path)
    with pytest.raises(
        SourceError, match=r"found image_file_name, mask_file_name, prompt, split; --set caption_column"
    ):
        hub(tmp_path, image_column="image_file_name")
    chosen = {"image_column": "image_file_name", "caption_column": "prompt"}
    assert hub(tmp_path, **chosen) == [("train/a.jpg", ("red",), "validation", "")]
    (tmp_path / "train" / "metadata.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceError, match=r"metadata.parquet: not a readable Parquet file"):
        hub(tmp_path)
