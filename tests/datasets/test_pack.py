from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from datasets import cub
from datasets.cub import SourceError
from datasets.manifest import Manifest, ManifestError, check_shards, load_captions, load_manifest
from datasets.pack import main, pack


def test_the_manifest_says_what_is_there(packed: tuple[str, Manifest], cub_source: Path) -> None:
    url, _ = packed
    manifest, vocabulary = load_manifest(url)
    assert (manifest.splits["train"].samples, manifest.splits["test"].samples) == (40, 30)
    assert manifest.splits["train"].classes == 8 and manifest.splits["test"].captions == 300
    assert (manifest.stored_size, manifest.resolution) == (76, 64)
    assert manifest.vocabulary_size == len(vocabulary)
    assert hashlib.sha256((Path(url) / "vocabulary.json").read_bytes()).hexdigest() == manifest.vocabulary_sha256
    for split in manifest.splits.values():
        for shard in split.shards:
            content = (Path(url) / shard.name).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (shard.size, shard.sha256)
            with tarfile.open(Path(url) / shard.name) as tar:
                starts = [member.offset for member in tar if member.name.endswith(".jpg")]
            assert starts == list(shard.offsets)
    check_shards(url, manifest)
    captions = load_captions(url, "test")
    assert len(captions) == 30 and all(len(entry.captions) == 10 for entry in captions)
    assert {record.captions for record in cub.read(cub_source) if record.split == "test"} == {
        entry.captions for entry in captions
    }


def test_packing_again_gives_the_same_bytes(packed: tuple[str, Manifest], cub_source: Path, tmp_path: Path) -> None:
    pack(list(cub.read(cub_source)), str(tmp_path), name="small", resolution=64, shard_samples=7, progress=False)
    for path in sorted(Path(packed[0]).iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_missing_and_a_cut_shard_are_named(cub_source: Path, tmp_path: Path) -> None:
    manifest = pack(list(cub.read(cub_source)), str(tmp_path), name="small", resolution=32, progress=False)
    shard = tmp_path / manifest.splits["train"].shards[0].name
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(ManifestError, match=r"train-000000.tar: has \d+ bytes, the manifest says \d+"):
        check_shards(str(tmp_path), manifest)
    shard.unlink()
    with pytest.raises(ManifestError, match=r"train-000000.tar: not found"):
        check_shards(str(tmp_path), manifest)


def test_a_folder_that_is_no_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest.json: not found; pack the dataset first"):
        load_manifest(str(tmp_path))
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "x", "name": "y"}))
    with pytest.raises(ManifestError, match="not a dataset manifest"):
        load_manifest(str(tmp_path))


def test_a_source_without_captions_or_classes_is_named(cub_source: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"images.txt: not found"):
        list(cub.read(tmp_path))
    (tmp_path / "CUB_200_2011").symlink_to(cub_source / "CUB_200_2011")
    (tmp_path / "text").symlink_to(cub_source / "text")
    (tmp_path / "trainvalclasses.txt").write_text("")
    (tmp_path / "testclasses.txt").write_text("")
    with pytest.raises(SourceError, match="is in neither"):
        list(cub.read(tmp_path))


def test_the_command_line(cub_source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cub", str(cub_source), str(tmp_path / "out"), "--set", "resolution=32"]) == 0
    assert load_manifest(str(tmp_path / "out"))[0].resolution == 32
    assert "train: 40 images, 400 captions, 8 classes, 1 shards" in capsys.readouterr().out
    assert main(["cub", str(tmp_path / "nothing"), str(tmp_path / "out2")]) == 2
    assert main(["cub", str(cub_source), str(tmp_path / "out2"), "--set", "resolution=big"]) == 2
    assert not (tmp_path / "out2").exists()
    assert all(line.startswith("datasets.pack: ") for line in capsys.readouterr().err.splitlines() if "%|" not in line)
