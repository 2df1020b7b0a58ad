"""COCO's, Karpathy's and Flickr's files of captions, and texts beside images."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from datasets.sources import coco, cub, flickr, karpathy, pairs
from datasets.sources.options import PackOptions
from datasets.sources.records import Note, Rejection, Source, SourceError, records_of
from tests.datasets.sources import layouts
from tests.datasets.sources.layouts import coco_tree, picture, write


def notes(source: Source) -> list[str]:
    return [entry.text for entry in source.entries if isinstance(entry, Note)]


def reasons(source: Source) -> list[tuple[str, str]]:
    return [(entry.image, entry.reason) for entry in source.entries if isinstance(entry, Rejection)]


# COCO -----------------------------------------------------------------------------------------------------------------


def test_coco_file_names_are_used_as_written_and_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    for path in ("coco/train2014/a.png", "coco/val2014/a.png", "secret.jpg"):
        write(tmp_path, path, picture(0))
    names = ("a.png", "../../secret.jpg", "a.png", "/etc/x")
    tree = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names, start=1)],
        "annotations": [
            {"image_id": 1, "caption": "a red picture"},
            {"image_id": 2, "caption": "not of this folder"},
            {"image_id": 3, "caption": None},
        ],
    }
    for split in ("train", "val"):
        write(root, f"annotations/captions_{split}2014.json", json.dumps(tree))
    source = coco.read(root)
    records = records_of(source)
    assert [(r.split, Path(r.image.name).relative_to(root).as_posix(), r.captions) for r in records] == [
        ("train", "train2014/a.png", ("a red picture",)),
        ("test", "val2014/a.png", ("a red picture",)),
    ]
    found = [reason for _, reason in reasons(source)]
    assert found.count("the image is outside the folder") == 4 and found.count("the caption is no text") == 2


def test_coco_years_are_not_mixed(tmp_path: Path) -> None:
    layouts.coco(tmp_path, "2014")
    layouts.coco(tmp_path, "2017")
    with pytest.raises(SourceError, match=r"has captions of 2014 and of 2017.*--set captions=annotations/captions_"):
        coco.read(tmp_path)
    source = coco.read(tmp_path, PackOptions(captions="annotations/captions_*2017.json"))
    assert source.name == "COCO 2017" and all("2017/" in record.image.name for record in records_of(source))
    with pytest.raises(SourceError, match=r"captions=nothing.json: not found"):
        coco.read(tmp_path, PackOptions(captions="nothing.json"))


def test_captions_of_others_in_cocos_format(tmp_path: Path) -> None:
    write(tmp_path, "captions_mine.json", json.dumps(coco_tree((0, 1))))
    write(tmp_path, "annotations/captions_my_dev.json", json.dumps(coco_tree((2,))))
    write(tmp_path, "images/p0.jpg", picture(0))
    source = coco.read(tmp_path, PackOptions(captions="captions_mine.json"))
    assert [(r.split, Path(r.image.name).parent.name) for r in records_of(source)] == [("", "images")] * 2
    assert [r.split for r in records_of(coco.read(tmp_path))] == ["validation"]
    write(tmp_path, "annotations/captions_my_dev.json", '{"images": []}')
    with pytest.raises(SourceError, match=r"captions_my_dev.json: not COCO's captions"):
        coco.read(tmp_path)
    with pytest.raises(SourceError, match="annotations: not found"):
        coco.read(tmp_path / "images")


def test_cocos_released_pickles_give_the_order(tmp_path: Path) -> None:
    layouts.coco(tmp_path, "2014")
    for split, names in (("train", ["p3", "p0"]), ("test", ["p5"])):
        write(tmp_path, f"{split}/filenames.pickle", pickle.dumps(names))
    source = coco.read(tmp_path)
    assert [(r.key, r.split, r.class_id) for r in records_of(source)] == [
        ("p3", "train", None),
        ("p0", "train", None),
        ("p5", "test", None),
    ]
    (tmp_path / "annotations").rename(tmp_path / "elsewhere")
    write(tmp_path, "text/p3.txt", "one\ntwo\n")
    write(tmp_path, "test/class_info.pickle", pickle.dumps([4]))
    records = records_of(coco.read(tmp_path))
    assert [(r.key, r.captions, r.class_id) for r in records] == [
        ("p3", ("one", "two"), None),
        ("p0", (), None),
        ("p5", (), 4),
    ]
    assert Path(records[0].image.name).relative_to(tmp_path).as_posix() == "images/train2014/p3.jpg"


def test_cubs_released_pickles_give_the_classes(tmp_path: Path) -> None:
    layouts.cub(tmp_path)
    for split, names in (("train", ["001.a/p2", "001.a/p0", "001.a/p2"]), ("test", ["002.b/p1"])):
        write(tmp_path, f"{split}/filenames.pickle", pickle.dumps(names))
        write(tmp_path, f"{split}/class_info.pickle", pickle.dumps([7] * len(names)))
    source = cub.read(tmp_path)
    assert [(r.key, r.class_id, r.class_name) for r in records_of(source)] == [
        ("001_a/p2", 7, "001.a"),
        ("001_a/p0", 7, "001.a"),
        ("002_b/p1", 7, "002.b"),
    ]
    assert reasons(source) == [("001.a/p2", "named twice in filenames.pickle")]


# Karpathy -------------------------------------------------------------------------------------------------------------


def test_karpathys_file_may_be_named_and_of_flickr(tmp_path: Path) -> None:
    sentences = [{"raw": "one"}, {"raw": 2}]
    images = [
        {"filename": f"{i}.jpg", "split": split, "sentences": sentences} for i, split in enumerate(("train", "x"))
    ]
    write(tmp_path, "dataset_flickr8k.json", json.dumps({"images": images}))
    write(tmp_path, "Flicker8k_Dataset/0.jpg", picture(0))
    write(tmp_path, "dataset_flickr30k.json", json.dumps({"images": [{"filename": "a.jpg"}]}))
    source = karpathy.read(tmp_path, PackOptions(captions="dataset_flickr8k.json"))
    (record,) = records_of(source)
    assert record.captions == ("one",) and Path(record.image.name).parent.name == "Flicker8k_Dataset"
    assert reasons(source)[0] == ("0.jpg", "the caption is no text") and "split 'x'" in reasons(source)[1][1]
    with pytest.raises(SourceError, match=r"found dataset_flickr30k.json, dataset_flickr8k.json; --set captions=FILE"):
        karpathy.read(tmp_path)
    with pytest.raises(SourceError, match=r"dataset_flickr30k.json: not Karpathy's captions \(KeyError"):
        karpathy.read(tmp_path / "dataset_flickr30k.json")


# Flickr ---------------------------------------------------------------------------------------------------------------


def test_flickr30k_as_unpacked_by_kaggle(tmp_path: Path) -> None:
    lines = ["image_name| comment_number| comment", '1.jpg| 0| A dog , it "runs" | fast .', "1.jpg| 1   It runs ."]
    write(tmp_path, "flickr30k_images/results.csv", "\n".join([*lines, "2.jpg| 0| A cat .", "1.jpg| 2| Third ."]))
    for name in ("1", "2"):
        write(tmp_path, f"flickr30k_images/flickr30k_images/{name}.jpg", picture(int(name)))
    source = flickr.read(tmp_path)
    assert [(r.captions, r.split) for r in records_of(source)] == [
        (('A dog , it "runs" | fast .', "Third ."), ""),
        (("A cat .",), ""),
    ]
    assert reasons(source) == [(f"{tmp_path}/flickr30k_images/results.csv, line 3", "not an image and its caption")]
    assert all(record.image.open().read() for record in records_of(source))


def test_flickr8k_as_packed_by_kaggle(tmp_path: Path) -> None:
    write(tmp_path, "captions.txt", 'image,caption\n1.jpg,"A dog, it runs ."\n2.jpg,A cat .\n../x.jpg,outside\n')
    write(tmp_path, "Images/1.jpg", picture(1))
    write(tmp_path, "train.txt", "1\n")
    source = flickr.read(tmp_path)
    assert [(r.key, r.captions, r.split) for r in records_of(source)] == [("1", ("A dog, it runs .",), "train")]
    assert notes(source) == ["1 images are in none of the files of splits and left out"]
    assert [reason for _, reason in reasons(source)] == ["'../x.jpg' is no image's name"]
    write(tmp_path, "test.txt", "1.jpg\n")
    with pytest.raises(SourceError, match=r"train.txt: 1.jpg is in the test split too"):
        flickr.read(tmp_path)


# Pairs ----------------------------------------------------------------------------------------------------------------


def test_pairs_and_what_has_no_pair(tmp_path: Path) -> None:
    for name in ("10_cat/a", "10_cat/b", "deep/er/c", "d"):
        write(tmp_path, f"{name}.png", picture(0))
    write(tmp_path, "10_cat/a.txt", "one\n\ntwo\n")
    write(tmp_path, "10_cat/a.caption", "not read")
    write(tmp_path, "deep/er/c.caption", "three")
    write(tmp_path, "d.txt", b"\xff\xfeo\x00n\x00e\x00")
    write(tmp_path, "readme.txt", "hello")
    write(tmp_path, ".hidden/e.jpg", picture(0))
    source = pairs.read(tmp_path)
    assert [(r.key, r.captions, r.class_name) for r in records_of(source)] == [
        ("d", ("one",), ""),
        ("10_cat/a", ("one", "two"), ""),
        ("deep/er/c", ("three",), ""),
    ]
    assert notes(source) == [
        "the repeats of folders such as 10_cat (kohya's) are ignored: an image is packed once",
        "where an image has a .txt and a .caption, such as a, the .txt is read",
        "1 text files have no image beside them and are not read",
    ]
    missing = "no caption: neither b.txt nor b.caption is beside it"
    assert reasons(source) == [(f"{tmp_path}/10_cat/b.png", missing)]
    write(tmp_path, "d.txt", b"t\xeate")
    assert "--set encoding=cp1252" in reasons(pairs.read(tmp_path))[0][1]


def test_a_link_to_the_folder_above_is_not_followed_for_ever(tmp_path: Path) -> None:
    write(tmp_path, "a/b.jpg", picture(0))
    write(tmp_path, "a/b.txt", "one")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [record.key for record in records_of(pairs.read(tmp_path))] == ["a/b"]
