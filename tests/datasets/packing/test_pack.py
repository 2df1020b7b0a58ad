from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image

from datasets.captions import load_captions
from datasets.index import load_index
from datasets.manifest import Manifest, ManifestError, check_shards, load_manifest
from datasets.packing.command import main
from datasets.packing.pack import PackOptions, pack
from datasets.packing.units import units_of
from datasets.sources import birds, coco, cub, folder
from datasets.sources.records import Entries, Entry, Record, Rejection, Source, SourceError, records_of
from datasets.storage import StorageError
from datasets.stream import open_images

SMALL = PackOptions(resolution=64, shard_samples=7, processes=1)
ROOT = Path(__file__).parents[3]


def files_of(folder: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_the_manifest_says_what_is_there(packed: tuple[str, Manifest], cub_source: Path) -> None:
    url, _ = packed
    manifest, vocabulary = load_manifest(url)
    assert (manifest.splits["train"].samples, manifest.splits["test"].samples) == (40, 30)
    assert manifest.splits["train"].classes == 8 and manifest.splits["test"].captions == 300
    assert (manifest.stored_size, manifest.resolution) == (76, 64)
    assert manifest.vocabulary_size == len(vocabulary)
    assert hashlib.sha256((Path(url) / "vocabulary.json").read_bytes()).hexdigest() == manifest.vocabulary_sha256
    named = {"manifest.json", "vocabulary.json", "rejected.jsonl", "train-shards.npy", "test-shards.npy"}
    for split in manifest.splits.values():
        for shard in split.shards:
            named |= {shard.name, shard.index, shard.captions}
            content = (Path(url) / shard.name).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (shard.size, shard.sha256)
            with tarfile.open(Path(url) / shard.name) as tar:
                starts = [member.offset for member in tar if member.name.endswith(".jpg")]
            assert starts == load_index(url, shard).offsets.tolist()
    assert set(files_of(url)) == named
    check_shards(url, manifest)
    captions = list(load_captions(url, "test"))
    assert len(captions) == 30 and all(len(entry.captions) == 10 for entry in captions)
    assert {r.captions for r in records_of(cub.read(cub_source, birds.NAME)) if r.split == "test"} == {
        e.captions for e in captions
    }


def test_the_shards_are_webdatasets(packed: tuple[str, Manifest]) -> None:
    """Read by its own library."""
    import webdataset

    url, manifest = packed
    shards = [f"{url}/{shard.name}" for shard in manifest.split("test").shards]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    entries = list(load_captions(url, "test"))
    assert [sample["__key__"] for sample in samples] == [entry.key for entry in entries]
    for sample, entry in zip(samples, entries, strict=True):
        assert sample["jpg"].startswith(b"\xff\xd8\xff")
        assert json.loads(sample["json"])["captions"] == list(entry.captions)


def test_any_number_of_processes_packs_the_same_bytes(
    packed: tuple[str, Manifest], cub_source: Path, tmp_path: Path
) -> None:
    pack(cub.read(cub_source, birds.NAME), str(tmp_path), SMALL.model_copy(update={"processes": 2}), progress=False)
    assert files_of(tmp_path) == files_of(packed[0])


@pytest.mark.parametrize("done", ["unit-*.json", "*.tar.json"], ids=["reading", "storing"])
def test_a_killed_pack_goes_on_to_the_same_bytes(cub_source: Path, tmp_path: Path, done: str) -> None:
    source = shutil.copytree(cub_source, tmp_path / "cub")
    pack(cub.read(source), str(tmp_path / "undisturbed"), SMALL, progress=False)
    sets = [f"--set={key}" for key in ("resolution=64", "shard_samples=7", "processes=2")]
    command = [sys.executable, "-m", "datasets.pack", "cub", str(source), str(tmp_path / "out"), *sets]
    state = tmp_path / "out" / ".packing"
    first = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    while not list(state.glob(done)):
        assert first.poll() is None
        time.sleep(0.001)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "out" / "manifest.json").exists()
    with pytest.raises(SourceError, match="holds an unfinished pack of another source or other settings"):
        pack(cub.read(source, birds.NAME), str(tmp_path / "out"), PackOptions(resolution=32), progress=False)
    stored = {path.name.removesuffix(".json") for path in state.glob("*.tar.json")}
    written = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in stored}
    (whole, rest) = units_of(cub.read(source))
    for unit in (whole, rest):
        if (state / f"{unit.name}.json").exists():  # what was read of it is not read again
            for record in unit.read():
                assert isinstance(record, Record)
                Path(record.image.name).write_bytes(bytes(record.image.size))
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert files_of(tmp_path / "out") == files_of(tmp_path / "undisturbed")
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in stored} == written


def test_a_ray_cluster_that_is_not_there_is_one_line(
    cub_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for address, said in (("127.0.0.1:9", "no Ray cluster answers there"), ("nonsense", "expected HOST:PORT")):
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert main(["cub", str(cub_source), str(tmp_path / "out"), "--workers", "2"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"datasets.pack: RAY_ADDRESS={address}: {said}")


@pytest.mark.distributed
def test_the_tasks_of_a_ray_cluster_pack_the_same_bytes(
    packed: tuple[str, Manifest], cub_source: Path, tmp_path: Path
) -> None:
    pack(cub.read(cub_source, birds.NAME), str(tmp_path), SMALL, progress=False, tasks=2)
    assert files_of(tmp_path) == files_of(packed[0])


def test_the_pool_of_a_killed_pack_ends(cub_source: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom datasets.storage.processes import process_pool\n"
        "if __name__ == '__main__':\n"
        "    pool = process_pool(1, int)\n    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    pool.submit(__import__('time').sleep, 600).result()\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/stat").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_shard_that_is_gone_is_packed_again(packed: tuple[str, Manifest], cub_source: Path, tmp_path: Path) -> None:
    manifest = pack(cub.read(cub_source, birds.NAME), str(tmp_path), SMALL, progress=False)
    (tmp_path / manifest.splits["train"].shards[1].name).unlink()
    (tmp_path / ".partial-of-a-killed-pack").write_bytes(b"")
    pack(cub.read(cub_source, birds.NAME), str(tmp_path), SMALL, progress=False)
    assert files_of(tmp_path) == files_of(packed[0])


def test_packing_over_a_dataset_is_refused_unless_it_is_the_same(cub_source: Path, tmp_path: Path) -> None:
    first = pack(cub.read(cub_source, birds.NAME), str(tmp_path), SMALL, progress=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert pack(cub.read(cub_source, birds.NAME), str(tmp_path), SMALL, progress=False) == first
    with pytest.raises(SourceError, match="holds another dataset"):
        pack(cub.read(cub_source, birds.NAME), str(tmp_path), PackOptions(resolution=32), progress=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace("dmgan-dataset-4", "dmgan-dataset-3"))
    with pytest.raises(SourceError, match=r"manifest.json: .* format is dmgan-dataset-3, .* or choose another DEST"):
        pack(cub.read(cub_source, birds.NAME), str(tmp_path), SMALL, progress=False)


def test_a_missing_and_a_cut_shard_are_named(cub_source: Path, tmp_path: Path) -> None:
    manifest = pack(
        cub.read(cub_source, birds.NAME), str(tmp_path), PackOptions(resolution=32, processes=1), progress=False
    )
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
        cub.read(tmp_path)
    (tmp_path / "CUB_200_2011").symlink_to(cub_source / "CUB_200_2011")
    (tmp_path / "trainvalclasses.txt").write_text("")
    (tmp_path / "testclasses.txt").write_text("")
    with pytest.raises(SourceError, match="is in neither"):
        cub.read(tmp_path)
    shutil.copy(cub_source / "trainvalclasses.txt", tmp_path)
    shutil.copy(cub_source / "testclasses.txt", tmp_path)
    with pytest.raises(SourceError, match="text: not found"):
        cub.read(tmp_path)


def test_the_command_line(cub_source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cub", str(cub_source), str(tmp_path / "out"), "--set", "resolution=32", "--set", "processes=1"]) == 0
    assert load_manifest(str(tmp_path / "out"))[0].resolution == 32
    assert "train: 40 images, 400 captions, 8 classes, 1 shards" in capsys.readouterr().out
    assert main(["cub", str(tmp_path / "nothing"), str(tmp_path / "out2")]) == 2
    for wrong in ("resolution=big", "resolution=2", "colour=1", "quality", "max_rejected=2", "processes=[1"):
        assert main(["cub", str(cub_source), str(tmp_path / "out2"), "--set", wrong]) == 2
    (tmp_path / "file").write_text("")
    assert main(["birds", str(tmp_path / "file"), str(tmp_path / "out2")]) == 2
    assert not (tmp_path / "out2").exists()
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("      ")]
    assert len(errors) == 8 and all(line.startswith("datasets.pack: ") for line in errors), errors


def test_a_source_that_changes_while_a_pack_is_unfinished_is_read_again_where_it_did(
    cub_source: Path, tmp_path: Path
) -> None:
    source, out = shutil.copytree(cub_source, tmp_path / "cub"), str(tmp_path / "out")

    class KilledError(Exception):
        pass

    def stops_before_the_end() -> Iterator[Entry]:
        yield from records_of(cub.read(source))[:64]
        raise KilledError

    with pytest.raises(KilledError):
        pack(Source("CUB-200-2011", Entries(stops_before_the_end)), out, SMALL, progress=False)
    (caption,) = (source / "text").glob("001*/*_0.txt")
    caption.write_text("a bird that was renamed\n")
    pack(cub.read(source), out, SMALL, progress=False)
    pack(cub.read(source), str(tmp_path / "undisturbed"), SMALL, progress=False)
    assert files_of(out) == files_of(tmp_path / "undisturbed")


def test_a_bucket_that_goes_away_ends_the_pack_and_rejects_no_image(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class AwayImage:
        name: str = "s3://bucket/a.jpg"
        size: int = -1

        def open(self) -> BinaryIO:
            raise StorageError("s3://bucket/a.jpg: cannot be reached")

    record = Record("a", AwayImage(), ("a picture",), "train")
    with pytest.raises(StorageError, match="cannot be reached"):
        pack(Source("away", [record]), str(tmp_path), SMALL, progress=False)
    assert not (tmp_path / "rejected.jsonl").exists() and not (tmp_path / "manifest.json").exists()


def test_a_source_of_which_nothing_can_be_packed_ends_early(tmp_path: Path) -> None:
    def endless() -> Iterator[Entry]:
        for i in itertools.count():
            assert i < 100_000
            yield Rejection(f"{i}.jpg", "not a readable image")

    with pytest.raises(SourceError, match=r"of the first \d+ images rejected; the first: 0.jpg: not a readable image"):
        pack(Source("endless", Entries(endless)), str(tmp_path), SMALL, progress=False)
    assert (tmp_path / "rejected.jsonl").exists() and not (tmp_path / "manifest.json").exists()


# What is left out -----------------------------------------------------------------------------------------------------


def images_folder(root: Path, count: int = 12) -> Path:
    (root / "photos").mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (40 + i, 30), (20 * i, 100, 50)).save(root / "photos" / f"p{i}.png")
    return root


def rows_of(count: int = 12) -> list[dict[str, object]]:
    return [{"image": f"photos/p{i}.png", "captions": [f"picture number {i}", "a picture"]} for i in range(count)]


def write_jsonl(root: Path, rows: list[dict[str, object]]) -> None:
    (root / "captions.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))


def test_what_cannot_be_packed_is_listed_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = images_folder(tmp_path / "source"), tmp_path / "out"
    rows = rows_of()
    (source / "photos" / "p1.png").write_bytes(b"no image")
    (source / "photos" / "p2.png").write_bytes((source / "photos" / "p3.png").read_bytes()[:60])
    (source / "photos" / "p4.png").unlink()
    rows[5]["captions"] = ["…", "a picture"]
    rows[6]["captions"] = ["—"]
    rows.append({"image": "photos/p7.jpg", "captions": ["the same key"]})
    rows.append({"image": "../outside.png", "captions": ["elsewhere"]})
    rows.append({"image": "photos/p8.png", "captions": ["again"], "split": "test"})
    rows[8]["split"] = "train"
    rows[9]["box"] = [100, 100, 10, 10]
    write_jsonl(source, rows)
    before = main(["folder", str(source), str(out)])
    assert before == 2 and not (out / "manifest.json").exists() and (out / "rejected.jsonl").exists()
    assert "images rejected, more than max_rejected=0.01 allows; the first: " in capsys.readouterr().err
    assert main(["folder", str(source), str(out), "--set", "max_rejected=0.7", "--set", "processes=1"]) == 0
    assert f"rejected: 10, listed in {out}/rejected.jsonl" in capsys.readouterr().out
    lines = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    reasons = {(Path(line["image"]).name, line.get("caption")): line["reason"] for line in lines}
    assert len(lines) == len(reasons) == 10
    assert "not a readable image" in reasons["p1.png", None] and "not a readable image" in reasons["p2.png", None]
    assert "No such file" in reasons["p4.png", None]
    assert "No such file" in reasons["p7.jpg", None]
    assert reasons["p5.png", "…"] == "the caption has no known word"
    assert reasons["p6.png", None] == "no caption"
    named = [reason for reason in reasons.values() if reason.startswith(("../outside.png", "photos/p8.png"))]
    assert [reason.split(": ")[1].split("'")[0] for reason in named] == ["leads out of the folder", "split "]
    assert "nothing is left of it in its box" in reasons["p9.png", None]
    manifest, _ = load_manifest(str(out))
    kept = {e.key: e.captions for split in manifest.splits for e in load_captions(str(out), split)}
    assert set(kept) == {f"photos/p{i}" for i in (0, 3, 5, 7, 8, 10, 11)}
    assert kept["photos/p5"] == ("a picture",)


# Sources --------------------------------------------------------------------------------------------------------------


def test_a_folder_with_a_csv_is_read_as_one_with_jsonl(tmp_path: Path) -> None:
    first, second = images_folder(tmp_path / "a"), images_folder(tmp_path / "b")
    rows = rows_of()
    for i, row in enumerate(rows):
        row |= {"split": "test" if i < 3 else "train", "class": f"c{i % 2}", "box": [1.0, 2.0, 20.0, 20.0]}
    write_jsonl(first, rows)
    with (second / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "text", "split", "class", "box"])
        for row in rows:
            for caption in row["captions"]:  # type: ignore[attr-defined]
                writer.writerow([row["image"], caption, row["split"], row["class"], "1 2 20 20"])

    def of(root: Path) -> list[tuple[object, ...]]:
        return [(r.key, r.split, r.box, r.captions, r.class_name) for r in records_of(folder.read(root))]

    assert of(first) == of(second)
    assert {record[4] for record in of(first)} == {"c0", "c1"} and sum(record[1] == "test" for record in of(first)) == 3


def test_a_folders_drawn_split_stays_when_images_are_added(tmp_path: Path) -> None:
    source = images_folder(tmp_path, 60)

    def splits(count: int) -> dict[str, str]:
        write_jsonl(source, rows_of(count))
        out = str(tmp_path / str(count))
        manifest = pack(
            folder.read(source), out, PackOptions(resolution=16, test_share=0.3, processes=1), progress=False
        )
        return {entry.key: split for split in manifest.splits for entry in load_captions(out, split)}

    before, after = splits(40), splits(60)
    assert before.items() <= after.items() and 5 < sum(split == "test" for split in after.values()) < 35


def test_a_folders_table_is_named_when_it_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected one of captions.jsonl, .* found none"):
        folder.read(tmp_path)
    (tmp_path / "captions.csv").write_text("path,words\na,b\n")
    with pytest.raises(SourceError, match=r"captions.csv: expected the columns image and caption, found path, words"):
        folder.read(tmp_path)
    (tmp_path / "more.jsonl").write_text('{"image": "a.png", "captions": ["b"]}\nnonsense\n')
    with pytest.raises(SourceError, match=r"more.jsonl, line 2: not JSON"):
        folder.read(tmp_path, PackOptions(captions="more.jsonl"))
    with pytest.raises(SourceError, match=r"captions=x.txt: expected a .jsonl or .csv file"):
        folder.read(tmp_path, PackOptions(captions="x.txt"))


def test_a_folders_table_in_the_ways_that_people_write_it(tmp_path: Path) -> None:
    images_folder(tmp_path)
    table = tmp_path / "captions.csv"
    table.write_text("image,caption,split\n./photos/p0.png,one,\nphotos/p0.png,two,test\n", encoding="utf-8-sig")
    (record,) = records_of(folder.read(tmp_path))
    assert (record.captions, record.split) == (("one", "two"), "test")
    table.write_text('image,caption\nphotos/p0.png,"one\nphotos/p1.png,two\n')
    with pytest.raises(SourceError, match="not CSV"):  # not one caption of the rest of the table
        folder.read(tmp_path)
    table.write_text(f"image,caption,box\nphotos/p0.png,one,1 2 inf 4\n{'x' * 300}.png,two,\nphotos/p1.png,three,\n")
    assert main(["folder", str(tmp_path), str(tmp_path / "out"), "--set=max_rejected=1", "--set=processes=1"]) == 0
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert len(reasons) == 2 and "expected x, y, width, height" in reasons[0] and "File name too long" in reasons[1]
    table.write_text("image,caption\nphotos/nothing.png,one\n")
    with pytest.raises(SourceError, match=r"no image is left to pack; the first: .*nothing.png"):
        pack(folder.read(tmp_path), str(tmp_path / "none"), PackOptions(max_rejected=1), progress=False)
    assert not (tmp_path / "none" / "manifest.json").exists()


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    picture = Image.new("RGB", (40, 40), "black")
    picture.paste("white", (0, 0, 40, 20))
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    write_jsonl(tmp_path, [{"image": "a.jpg", "captions": ["half white"], "split": "test"}])
    options = PackOptions(resolution=32, max_rejected=0)
    pack(folder.read(tmp_path), str(tmp_path / "out"), options, progress=False)
    (image,) = next(open_images(str(tmp_path / "out"), "test", 1)).float().mean(1)
    assert image[:, -8:].mean() > 240 and image[:, :8].mean() < 15


def write_coco(root: Path) -> None:
    (root / "annotations").mkdir(parents=True)
    for part, count in (("train2014", 6), ("val2014", 4)):
        (root / part).mkdir()
        images, annotations = [], []
        for i in range(count):
            name = f"COCO_{part}_{i:012d}.jpg"
            Image.new("RGB", (50, 40), (10 * i, 80, 80)).save(root / part / name)
            images.append({"id": 100 + i, "file_name": name})
            annotations += [{"image_id": 100 + i, "caption": f"a thing {word}\n"} for word in ("here", "there", "x")]
        tree = {"images": images, "annotations": annotations[::-1]}
        (root / "annotations" / f"captions_{part}.json").write_text(json.dumps(tree))


def test_coco_is_read_from_its_official_files(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    assert (
        main(["coco", str(tmp_path / "coco"), str(tmp_path / "out"), "--set", "resolution=32", "--set", "processes=1"])
        == 0
    )
    manifest, _ = load_manifest(str(tmp_path / "out"))
    assert (manifest.splits["train"].samples, manifest.splits["test"].samples) == (6, 4)
    assert manifest.splits["test"].captions == 12 and manifest.splits["test"].classes == 4
    (entry,) = (e for e in load_captions(str(tmp_path / "out"), "test") if e.key == "COCO_val2014_000000000002")
    assert sorted(entry.captions)[0] == "a thing here"
    (tmp_path / "coco" / "annotations" / "captions_val2014.json").write_text('{"images": []}')
    with pytest.raises(SourceError, match=r"captions_val2014.json: not COCO's captions"):
        coco.read(tmp_path / "coco")
    with pytest.raises(SourceError, match="annotations: not found"):
        coco.read(tmp_path)


def test_released_pickles_give_split_order_classes_and_the_words_numbers(cub_source: Path, tmp_path: Path) -> None:
    (tmp_path / "CUB_200_2011").symlink_to(cub_source / "CUB_200_2011")
    (tmp_path / "text").symlink_to(cub_source / "text")
    stems = [line.split()[1].removesuffix(".jpg") for line in (cub_source / "CUB_200_2011/images.txt").open()]
    parts = {"train": stems[10:4:-1], "test": stems[:3]}
    words = ["<end>", "zebra", "this", "bird", "is", "a", "has"]
    captions = {split: [[2, 3, 4], [5, 3]] * len(names) for split, names in parts.items()}
    for split, names in parts.items():
        (tmp_path / split).mkdir()
        (tmp_path / split / "filenames.pickle").write_bytes(pickle.dumps(names, protocol=0))
        (tmp_path / split / "class_info.pickle").write_bytes(pickle.dumps([7] * len(names), protocol=0))
    numbered = [captions["train"], captions["test"], dict(enumerate(words)), {w: i for i, w in enumerate(words)}]
    (tmp_path / "captions.pickle").write_bytes(pickle.dumps(numbered, protocol=2))
    source = cub.read(tmp_path)
    records = records_of(source)
    assert [(r.split, r.class_id) for r in records] == [("train", 7)] * 6 + [("test", 7)] * 3
    assert [Path(r.image.name).stem for r in records] == [Path(s).name for s in (*parts["train"], *parts["test"])]
    assert source.vocabulary is not None and source.vocabulary.words == tuple(words)
    assert len(records[0].captions) == 10  # text/ says more than the numbers do
    (tmp_path / "text").unlink()
    assert records_of(cub.read(tmp_path))[0].captions == ("this bird is", "a bird")
    pack(cub.read(tmp_path), str(tmp_path / "out"), PackOptions(resolution=32, processes=1), progress=False)
    assert load_manifest(str(tmp_path / "out"))[1].words == tuple(words)
    (tmp_path / "test" / "class_info.pickle").write_bytes(pickle.dumps([7]))
    with pytest.raises(SourceError, match=r"class_info.pickle: has 1 classes for 3 names"):
        cub.read(tmp_path)
    (tmp_path / "captions.pickle").write_bytes(pickle.dumps(Path("/")))
    with pytest.raises(SourceError, match=r"captions.pickle: it refers to pathlib"):
        cub.read(tmp_path)
