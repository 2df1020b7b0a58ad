"""A manifest and what it names are held to each other wherever they are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.captions import load_captions
from datasets.index import load_index
from datasets.manifest import Manifest, ManifestError, load_manifest


@pytest.fixture
def copy(packed: tuple[str, Manifest], tmp_path: Path) -> Path:
    shutil.copytree(packed[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_captions_that_were_changed_are_refused(copy: Path) -> None:
    path = copy / "test-000001.captions.jsonl"
    text = path.read_text()
    assert "bird" in text
    path.write_text(text.replace("bird", "fish", 1))
    with pytest.raises(ManifestError, match=r"test-000001.captions.jsonl: has another checksum than the manifest's"):
        list(load_captions(str(copy), "test"))
    assert len(list(load_captions(str(copy), "train"))) == 40


def test_an_index_or_a_table_of_shards_that_was_changed_is_refused(copy: Path) -> None:
    shard = load_manifest(str(copy))[0].split("train").shards[2]
    index = copy / shard.index
    content = index.read_bytes()
    index.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ManifestError, match=r"train-000002.index.npy: has another checksum than the manifest's"):
        load_index(str(copy), shard)
    table = copy / "test-shards.npy"
    table.write_bytes(table.read_bytes()[:-4])
    with pytest.raises(ManifestError, match=r"test-shards.npy: has another checksum than the manifest's"):
        load_manifest(str(copy))


def change(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def apply(tree: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for part in path:
            tree = tree[int(part)] if part.isdigit() else tree[part]
        tree[last] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (change("splits.train.samples", 41), "its shards hold 40 samples, not 41"),
        (change("splits.train.samples", "40"), "valid integer"),
        (change("splits.train.captions", 3), "cannot be"),
        (change("splits.train.classes", 0), "cannot be"),
        (change("splits.train.shards_sha256", None), "valid string"),
        (change("splits.train.shards_sha256", "0" * 64), "train-shards.npy: has another checksum"),
        (change("splits.dev", {}), "splits.dev"),
        (change("splits", {}), "has no splits"),
        (change("splits", []), "splits: input should be an object"),
        (change("resolution", 0), "images of 0 pixels"),
        (change("resolution", 1.5), "valid integer"),
        (change("vocabulary_size", 3), "words, the manifest says 3"),
        (change("unknown", 1), "unknown"),
        (change("format", "dmgan-dataset-3"), "pack the dataset again"),
        (change("format", None), "names no format"),
    ],
)
def test_a_manifest_that_cannot_be_is_one_line(copy: Path, damage: Callable[[Any], None], reason: str) -> None:
    tree = json.loads((copy / "manifest.json").read_text())
    damage(tree)
    (copy / "manifest.json").write_text(json.dumps(tree))
    with pytest.raises(ManifestError) as caught:
        load_manifest(str(copy))
    assert reason in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '"x"', "12"])
def test_what_is_no_manifest_is_one_line(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(ManifestError, match=r"manifest.json: not a dataset manifest"):
        load_manifest(str(copy))
