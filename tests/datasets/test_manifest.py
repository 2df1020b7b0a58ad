"""A manifest and what it names are held to each other wherever they are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.manifest import Manifest, ManifestError, load_captions, load_manifest


@pytest.fixture
def copy(packed: tuple[str, Manifest], tmp_path: Path) -> Path:
    shutil.copytree(packed[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_captions_that_were_changed_are_refused(copy: Path) -> None:
    path = copy / "test-captions.json"
    text = path.read_text()
    assert "bird" in text
    path.write_text(text.replace("bird", "fish", 1))
    with pytest.raises(ManifestError, match=r"test-captions.json: has another checksum than the manifest's"):
        load_captions(str(copy), "test")
    assert load_captions(str(copy), "train").images


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
        (change("splits.train.shards", []), "its shards hold 0 samples, not 40"),
        (change("splits.train.samples", 41), "its shards hold 40 samples, not 41"),
        (change("splits.train.samples", "40"), "valid integer"),
        (change("splits.train.captions", 3), "cannot be"),
        (change("splits.train.classes", 0), "cannot be"),
        (change("splits.train.shards.0.offsets", [0, 5, 3]), "do not fit together"),
        (change("splits.train.shards.0.name", "../x.tar"), "expected the name of a file"),
        (change("splits.train.shards.0.size", None), "valid integer"),
        (change("splits.train.shards.0.crc32", [1]), "do not fit together"),
        (change("splits", {}), "has no splits"),
        (change("splits", []), "splits: input should be an object"),
        (change("resolution", 0), "images of 0 pixels"),
        (change("resolution", 1.5), "valid integer"),
        (change("vocabulary_size", 3), "words, the manifest says 3"),
        (change("unknown", 1), "unknown"),
        (change("format", "dmgan-dataset-1"), "pack the dataset again"),
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
