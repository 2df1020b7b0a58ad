"""Parquet files and tars: parts that another process reads, and what is wrong with them."""

from __future__ import annotations

import json
import os
import pickle
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets.sources import parquet, webdataset
from datasets.sources.options import PackOptions
from datasets.sources.records import MemoryImage, Record, Rejection, Source, SourceError, records_of
from tests.datasets.sources import layouts
from tests.datasets.sources.layouts import add, picture


def entries(source: Source) -> list[object]:
    return [entry for part in source.parts for entry in part.entries()]


def rejected(source: Source) -> list[tuple[str, str]]:
    return [(entry.image, entry.reason) for entry in entries(source) if isinstance(entry, Rejection)]


@pytest.mark.parametrize("layout", ["parquet", "webdataset"])
def test_parts_travel_and_are_read_in_order(layout: str, tmp_path: Path) -> None:
    layouts.LAYOUTS[layout](tmp_path)
    source = {"parquet": parquet, "webdataset": webdataset}[layout].read(tmp_path)  # type: ignore[attr-defined]
    assert [part.name for part in source.parts] == sorted(part.name for part in source.parts)
    assert len({part.version for part in source.parts}) > 1
    sent = pickle.loads(pickle.dumps(source.parts[0]))
    assert list(sent.entries()) == list(source.parts[0].entries())
    file = tmp_path / source.parts[0].name
    os.utime(file, (1, 1))
    again = {"parquet": parquet, "webdataset": webdataset}[layout].read(tmp_path)  # type: ignore[attr-defined]
    assert again.parts[0].version != source.parts[0].version and again.parts[1].version == source.parts[1].version


# Tars -----------------------------------------------------------------------------------------------------------------


def write_tar(path: Path, *files: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            add(tar, name, content)
    return path


def test_the_files_of_a_sample(tmp_path: Path) -> None:
    def tree(value: object) -> bytes:
        return json.dumps(value).encode()

    write_tar(
        tmp_path / "train-0.tar",
        *((f"{key}.png", picture(i)) for i, key in enumerate(["./x/alone"])),
        ("a.jpg", picture(0)),
        ("a.txt", b" of the\nfile "),
        ("a.json", tree({"caption": "of the tree"})),
        ("a.cls", b"7\n"),
        ("b.WEBP", picture(1)),
        ("b.json", tree({"captions": ["one", "two"]})),
        ("b.other", b"not read"),
        ("c.txt", b"no image"),
        ("d.left.jpg", picture(2)),
        ("d.right.jpg", picture(3)),
        ("d.txt", b"two images"),
        ("e.jpg", picture(4)),
        ("e.json", b"{"),
        ("f.jpg", picture(4)),
        ("f.txt", b"\xff"),
        ("g.jpg", picture(4)),
        ("g.txt", b"  "),
        ("g.json", tree({"caption": None})),
        ("h.jpg", picture(5)),
        ("h.txt", b""),
        ("h.json", tree({"caption": "after an empty text"})),
    )
    source = webdataset.read(tmp_path)
    assert [(r.key, r.image.name, r.captions, r.class_name, r.split) for r in records_of(source)] == [
        ("train-0/a", "train-0.tar/a.jpg", ("of the file",), "7", "train"),
        ("train-0/b", "train-0.tar/b.WEBP", ("one", "two"), "", "train"),
        ("train-0/d", "train-0.tar/d.left.jpg", ("two images",), "", "train"),
        ("train-0/h", "train-0.tar/h.jpg", ("after an empty text",), "", "train"),
    ]
    assert rejected(source) == [
        ("train-0.tar/x/alone.png", "no caption: the sample has no .txt, and no .json with one"),
        ("train-0.tar/c", "the sample has no image"),
        ("train-0.tar/d.right.jpg", "a second image beside d.left.jpg"),
        ("train-0.tar/e.jpg", "its .json is not JSON"),
        ("train-0.tar/f.jpg", "its .txt is not UTF-8; --set encoding=… says what it is"),
        ("train-0.tar/g.jpg", "no caption: the sample has no .txt, and no .json with one"),
    ]
    assert webdataset.read(tmp_path, PackOptions(encoding="cp1252")).parts[0].name == "train-0.tar"
    assert any(r.captions == ("ÿ",) for r in records_of(webdataset.read(tmp_path, PackOptions(encoding="cp1252"))))


@pytest.mark.parametrize("where", ["in a file", "between files", "in a header", "header", "at once", "no tar"])
def test_a_damaged_tar_is_named(where: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", ("a.jpg", bytes(3000)), ("a.txt", b"a"), ("b.jpg", bytes(3000)))
    content = bytearray(path.read_bytes())
    second = 512 + 3072
    if where == "header":
        content[second + 10] ^= 255
    cut = {"in a file": 1000, "between files": second, "in a header": second + 100, "at once": 0}.get(
        where, len(content)
    )
    path.write_bytes(b"no tar at all" if where == "no tar" else content[:cut])
    with pytest.raises(SourceError, match=rf"^{path}: not a readable tar \(.+\)$"):
        entries(webdataset.read(tmp_path))


def test_tars_are_named_by_patterns(tmp_path: Path) -> None:
    for split in ("train", "test"):
        layouts.webdataset(tmp_path / split)
    source = webdataset.read(tmp_path / "{train,test}" / "{00000..00001}.tar")
    assert [part.name for part in source.parts] == [
        f"{s}/{n}.tar" for s in ("train", "test") for n in ("00000", "00001")
    ]
    assert [record.split for record in records_of(source)] == ["train"] * 6 + ["test"] * 6
    for name, said in (("{00000..00002}.tar", "00002.tar: not found"), ("{0.tar", "its braces are not closed")):
        with pytest.raises(SourceError, match=said):
            webdataset.read(tmp_path / "train" / name)
    with pytest.raises(SourceError, match=r"no .tar file is there or below it"):
        (tmp_path / "empty").mkdir()
        webdataset.read(tmp_path / "empty")


# Parquet --------------------------------------------------------------------------------------------------------------


def write_parquet(path: Path, rows: list[dict[str, object]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_the_columns_of_a_parquet_file(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"jpg": picture(0), "caption": "one", "class": "bird", "split": "test"},
        {"jpg": picture(1), "caption": None, "class": None, "split": None},
        {"jpg": None, "caption": "three", "class": "bird", "split": "test"},
        {"jpg": picture(3), "caption": "four", "class": "bird", "split": "all"},
    ]
    source = parquet.read(write_parquet(tmp_path / "birds.parquet", rows))
    assert [entry for entry in entries(source) if isinstance(entry, Record)] == [
        Record("birds/000000", MemoryImage("birds.parquet row 0", picture(0)), ("one",), "test", "bird"),
        Record("birds/000001", MemoryImage("birds.parquet row 1", picture(1)), ()),
    ]
    assert rejected(source)[:2] == [
        ("birds.parquet row 1", "the caption is no text"),
        ("birds.parquet row 2", "holds no image"),
    ]
    assert rejected(source)[2][1].startswith("split 'all': expected one of train")


def test_a_column_that_is_missing_or_not_alone_is_asked_for(tmp_path: Path) -> None:
    image = {"bytes": picture(0), "path": "a.jpg"}
    path = write_parquet(
        tmp_path / "x.parquet", [{"left": image, "right": image, "title": "one", "more": ["two", "2"]}]
    )
    with pytest.raises(
        SourceError, match=r"x.parquet: left and right may be the image's column; .* --set image_column"
    ):
        parquet.read(path)
    with pytest.raises(
        SourceError, match=r"no column of texts .*; its columns are left, right, title, more; --set caption"
    ):
        parquet.read(path, PackOptions(image_column="left"))
    with pytest.raises(SourceError, match=r"has no column text; its columns are left, right, title, more"):
        parquet.read(path, PackOptions(image_column="left", caption_column="text"))
    (record,) = records_of(parquet.read(path, PackOptions(image_column="right", caption_column="more")))
    assert record.captions == ("two", "2")
    write_parquet(path, [{"image": {"bytes": None, "path": "https://x/a.jpg"}, "text": "one"}])
    assert rejected(parquet.read(path)) == [
        ("x.parquet row 0", "holds no image's bytes, only the path https://x/a.jpg")
    ]
    write_parquet(path, [{"url": "https://x/a.jpg", "text": "one"}])
    with pytest.raises(
        SourceError, match=r"no column of structs of bytes and path, or bytes; its columns are url, text"
    ):
        parquet.read(path)


@pytest.mark.parametrize("layout", ["cut", "text"])
def test_a_damaged_parquet_file_is_named(layout: str, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"image": {"bytes": picture(i), "path": None}, "text": "one"} for i in range(6)]
    path = write_parquet(tmp_path / "x.parquet", rows)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if layout == "cut" else b"version https://git-lfs\n" * 9)
    with pytest.raises(SourceError, match=rf"^{path}: not a readable Parquet file \(.+\)$"):
        parquet.read(tmp_path)


def test_damage_within_a_parquet_file_is_named(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"image": {"bytes": picture(i), "path": None}, "text": "one"} for i in range(6)]
    path = write_parquet(tmp_path / "x.parquet", rows)
    source = parquet.read(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])
    with pytest.raises(SourceError, match=rf"^{path}: not a readable Parquet file"):
        entries(source)
