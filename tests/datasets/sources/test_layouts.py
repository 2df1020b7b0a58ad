"""Every layout that `datasets.pack` reads: recognised by its names, and read here and in a bucket alike."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets import storage
from datasets.sources.options import PackOptions
from datasets.sources.place import place
from datasets.sources.recognition import recognise
from datasets.sources.records import PathImage, Source, SourceError, readers, records_of
from datasets.storage.local_s3 import local_s3
from tests.datasets.sources import layouts
from tests.datasets.sources.layouts import LAYOUTS, NAMES, SPLITS, captions, picture, shown, write


def read(name: str, source: Path, **options: object) -> Source:
    return readers.get(name).read(source, PackOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_recognised_and_every_picture_is_read(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    found, why = recognise(tmp_path)
    assert found == name and why
    source = read(name, tmp_path)
    records = records_of(source)
    assert [r.key for r in records] == [r.key for r in records_of(source)]  # in the same order each time
    contents = {}
    for record in records:
        with record.image.open() as file:
            contents[file.read()] = record
    assert set(contents) == {picture(i) for i in range(len(NAMES))}
    for i in range(len(NAMES)):
        record = contents[picture(i)]
        assert record.captions == tuple(captions(i) if name != "webdataset" else captions(i)[:1])
        splits = {"cub": "test" if i % 2 else "train", "coco": "train" if i < 4 else "test", "webdataset": ""}
        assert record.split == splits.get(name, SPLITS[i]), i
        classes = {"cub": ("001.a", "002.b"), "imagefolder": ("class 0", "class 1"), "parquet": ("even", "odd")}
        assert record.class_name == classes.get(name, ("", ""))[i % 2]
        assert record.upright == (name not in ("cub", "coco")) and record.class_id is None


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with local_s3(tmp_path_factory.mktemp("s3")):
        yield "s3://sources"


@pytest.mark.distributed
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_source_in_a_bucket_is_read_as_one_in_a_folder(name: str, bucket: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    storage.upload_folder(tmp_path, f"{bucket}/{name}", last="")
    there = place(f"{bucket}/{name}")
    assert recognise(there) == recognise(tmp_path)
    local = [shown(record, tmp_path) for record in records_of(read(name, tmp_path))]
    assert len(local) == len(NAMES)
    assert [shown(record, there) for record in records_of(read(name, there))] == local


@pytest.mark.distributed
def test_what_is_not_in_a_bucket_is_said_in_a_line(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts.webdataset(tmp_path)
    storage.upload_folder(tmp_path, f"{bucket}/tars", last="")
    tars = place(f"{bucket}/tars/{{00000..00001}}.tar")
    assert recognise(tars)[0] == "webdataset" and len(records_of(read("webdataset", tars))) == len(NAMES)
    with pytest.raises(SourceError, match=r"s3://sources/tars/00002.tar: not found"):
        read("webdataset", place(f"{bucket}/tars/{{00000..00002}}.tar"))
    with pytest.raises(SourceError, match=r"s3://sources/nothing: not found"):
        recognise(place(f"{bucket}/nothing"))
    with pytest.raises(FileNotFoundError):
        PathImage(place(f"{bucket}/tars/a.jpg")).open()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    tars = place(f"{bucket}/tars")
    for ask in (lambda: recognise(tars), lambda: read("webdataset", tars), PathImage(tars / "x").open):
        with pytest.raises(
            storage.StorageError, match=r"^s3://sources/tars\S*: cannot be reached at http://127.0.0.1:9"
        ):
            ask()


# Recognition ----------------------------------------------------------------------------------------------------------


def test_two_layouts_at_once_are_asked_about(tmp_path: Path) -> None:
    layouts.karpathy(tmp_path)
    layouts.coco(tmp_path, "2014")
    with pytest.raises(SourceError, match=r"may be of several layouts: coco \(.*\); karpathy \(.*--format NAME"):
        recognise(tmp_path)


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_coco_of_either_year_is_recognised(year: str, tmp_path: Path) -> None:
    layouts.coco(tmp_path, year)
    assert recognise(tmp_path)[0] == "coco" and read("coco", tmp_path).name == f"COCO {year}"


@pytest.mark.parametrize(
    ("layout", "removed", "said"),
    [
        (
            "cub",
            ("text", "trainvalclasses.txt"),
            r"for cub, CUB_200_2011/images.txt is there, text/.*testclasses.txt",
        ),
        ("coco", ("annotations",), r"for coco, train2017/ is there, annotations/captions_train2017.json is missing"),
        ("imagefolder", ("*/metadata.csv",), r"for imagefolder, t\w+/class ./p..jpg is there, a table \(metadata"),
        ("pairs", ("*/*/*.txt", "*/*/*.caption"), r"for pairs, test/10_things/p5.jpg is there, p5.txt or .caption"),
        ("flickr", ("Flickr8k_text",), r"for flickr, Flicker8k_Dataset/ is there, Flickr's captions: .* is missing"),
    ],
)
def test_what_is_missing_of_a_layout_is_said(layout: str, removed: tuple[str, ...], said: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path / "source")
    for pattern in removed:
        for i, path in enumerate((tmp_path / "source").glob(pattern)):
            path.rename(tmp_path / f"{removed.index(pattern)}-{i}")
    with pytest.raises(SourceError, match=said) as caught:
        recognise(tmp_path / "source")
    assert "\n" not in str(caught.value)


def test_what_is_nothing_at_all_is_said_with_the_layouts(tmp_path: Path) -> None:
    write(tmp_path, "notes.md", "nothing")
    with pytest.raises(SourceError, match=r"of no known layout; those are .*webdataset"):
        recognise(tmp_path)
    with pytest.raises(SourceError, match="missing: not found; expected a folder or a file"):
        recognise(tmp_path / "missing")


def test_single_files_are_recognised(tmp_path: Path) -> None:
    layouts.webdataset(tmp_path / "tars")
    layouts.parquet(tmp_path / "hub")
    layouts.coco(tmp_path / "coco")
    assert recognise(tmp_path / "tars" / "00000.tar")[0] == "webdataset"
    assert recognise(tmp_path / "tars" / "{00000..00001}.tar")[0] == "webdataset"
    assert recognise(tmp_path / "hub" / "data" / "test-00000-of-00002.parquet")[0] == "parquet"
    layouts.folder(tmp_path / "folder")
    with pytest.raises(SourceError, match=r"captions.jsonl is a table; give the folder that holds it and the images"):
        recognise(tmp_path / "folder" / "captions.jsonl")
    file = tmp_path / "coco" / "annotations" / "captions_val2017.json"
    assert recognise(file)[0] == "coco" and len(records_of(read("coco", file))) == 2


def test_many_files_are_recognised_in_seconds(tmp_path: Path) -> None:
    names = [f"{i:06d}.jpg" for i in range(60_000)]
    for name in names:
        (tmp_path / name).touch()
    write(tmp_path, "metadata.jsonl", json.dumps({"file_name": names[0], "text": "one"}))
    start = time.monotonic()
    assert recognise(tmp_path)[0] == "imagefolder"
    assert time.monotonic() - start < 10
