from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.captions import load_captions
from datasets.index import index_bytes, load_index
from datasets.manifest import Manifest, Shard, ShardTable, Split, load_manifest, write_manifest
from datasets.packing import verify
from datasets.packing.pack import PackOptions, pack
from datasets.plan import BLOCK_SAMPLES, Leg, batches_per_worker, plan_epoch, segments
from datasets.sources import cub
from datasets.sources.records import Source, records_of
from datasets.storage import Retry
from datasets.stream import DatasetError, ReadOptions, Skipped, open_images, open_stream


def synthetic_split(sizes: list[int]) -> Split:
    none = "0" * 64
    shards = [Shard(f"train-{i:06d}.tar", n, n * 10, none, none, none) for i, n in enumerate(sizes)]
    return Split(sum(sizes), sum(sizes), 1, ShardTable.of("train", shards))


SIZES = st.lists(st.one_of(st.just(1), st.integers(1, 40), st.integers(1, 3000)), min_size=1, max_size=12)
LEGS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 16), st.floats(0, 1)), max_size=3)


@settings(max_examples=80, deadline=None)
@given(sizes=SIZES, legs=LEGS, world=st.integers(1, 33), epoch=st.integers(0, 3), shuffle=st.booleans())
def test_every_sample_goes_to_exactly_one_worker(
    sizes: list[int], legs: list[tuple[int, int, float]], world: int, epoch: int, shuffle: bool
) -> None:
    """Whatever other numbers of workers had the epoch before, and wherever each of them stopped."""
    split = synthetic_split(sizes)
    given: list[int] = []
    taken: list[Leg] = []
    for earlier, batch_size, share in legs:
        whole = batches_per_worker(split.samples, batch_size, earlier, taken)
        batches = round(share * whole)
        for rank in range(earlier):
            blocks = plan_epoch(
                split, rank=rank, world_size=earlier, epoch=epoch, seed=3, shuffle=shuffle, legs=tuple(taken)
            )
            mine = [p for block in blocks for p in block.tolist()]
            assert len(mine) >= whole * batch_size
            given += mine[: batches * batch_size]
        taken.append(Leg(earlier, batch_size, batches))
    shares = []
    for rank in range(world):
        before = len(given)
        for block in plan_epoch(
            split, rank=rank, world_size=world, epoch=epoch, seed=3, shuffle=shuffle, legs=tuple(taken)
        ):
            assert 0 < len(block) <= BLOCK_SAMPLES
            given += block.tolist()
        shares.append(len(given) - before)
    assert sorted(given) == list(range(split.samples))
    assert max(shares) - min(shares) <= 1


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, data=st.data())
def test_segments_hold_the_positions_and_little_else(sizes: list[int], data: st.DataObject) -> None:
    split = synthetic_split(sizes)
    wanted = data.draw(st.sets(st.integers(0, split.samples - 1), min_size=1, max_size=50))
    found = segments(split, np.array(sorted(wanted, key=hash)))
    held = [split.starts[s.shard] + i for s in found for i in range(s.first, s.last)]
    assert wanted <= set(held) and len(set(held)) == len(held)
    assert all(0 <= s.first < s.last <= split.shards[s.shard].samples for s in found)
    assert len(held) <= 17 * len(wanted)


def test_batches_are_what_training_expects(packed: tuple[str, Manifest]) -> None:
    batches = list(open_stream(packed[0], split="train", batch_size=6))
    assert len(batches) == 40 // 6
    batch = batches[0]
    assert batch.images.shape == (6, 3, 64, 64) and batch.images.dtype == torch.uint8
    assert len(batch.captions) == len(batch.draws) == 6 and all(
        load_manifest(packed[0])[1].encode(c) for c in batch.captions
    )
    assert len({key for b in batches for key in b.keys}) == 36


def test_epochs_differ_and_repeat(packed: tuple[str, Manifest]) -> None:
    def keys(**options: int) -> list[str]:
        return [k for b in open_stream(packed[0], split="train", batch_size=4, **options) for k in b.keys]

    assert keys() == keys()
    assert keys(epoch=1) != keys() and sorted(keys(epoch=1)) == sorted(keys())
    assert keys(seed=1) != keys()


@pytest.mark.parametrize("start", [0, 1, 4])
def test_starting_in_the_middle_gives_the_remaining_batches(packed: tuple[str, Manifest], start: int) -> None:
    whole = list(open_stream(packed[0], split="train", batch_size=4, rank=1, world_size=2))
    rest = list(open_stream(packed[0], split="train", batch_size=4, rank=1, world_size=2, start=start))
    assert len(rest) == len(whole) - start
    for a, b in zip(whole[start:], rest, strict=True):
        assert a.keys == b.keys and torch.equal(a.images, b.images) and (a.captions, a.draws) == (b.captions, b.draws)


def test_crops_and_captions_do_not_depend_on_the_worker(packed: tuple[str, Manifest]) -> None:
    def by_key(world: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        found = {}
        for rank in range(world):
            for batch in open_stream(packed[0], split="train", batch_size=1, rank=rank, world_size=world):
                found[batch.keys[0]] = (batch.images[0], (batch.captions[0], batch.draws[0]))
        return found

    one, three = by_key(1), by_key(3)
    assert len(one) == 40 and len(three) == 39  # 40 = 3·13 + 1: all workers have the same number of batches
    for key, (image, caption) in three.items():
        assert torch.equal(image, one[key][0]) and caption == one[key][1]


def test_more_workers_than_shards_and_than_samples(packed: tuple[str, Manifest]) -> None:
    keys = [
        key
        for rank in range(10)
        for batch in open_stream(packed[0], split="train", batch_size=4, rank=rank, world_size=10)
        for key in batch.keys
    ]
    assert len(set(keys)) == len(keys) == 40
    with pytest.raises(ValueError, match="40 samples, fewer than one batch of 1 for each of 41 workers"):
        next(open_stream(packed[0], split="train", batch_size=1, world_size=41))


def test_all_images_of_a_split_each_once(packed: tuple[str, Manifest]) -> None:
    whole = torch.cat(list(open_images(packed[0], "test", batch_size=8)))
    parts = [
        torch.cat(list(open_images(packed[0], "test", 8, first, last))) for first, last in pairwise((0, 1, 12, 99))
    ]
    assert torch.equal(torch.cat(parts), whole) and len(whole) == 30


@pytest.mark.parametrize("shard_samples", [1, 40])
def test_one_sample_a_shard_and_one_shard_of_all(cub_source: Path, tmp_path: Path, shard_samples: int) -> None:
    whole = cub.read(cub_source)
    source = Source("some", [r for r in records_of(whole) if r.split == "train"][:13])
    options = PackOptions(resolution=32, shard_samples=shard_samples, processes=1)
    pack(source, str(tmp_path), options, progress=False)
    for world, batch_size in ((1, 1), (2, 3), (5, 2), (13, 1)):
        streams = [
            [b.keys for b in open_stream(str(tmp_path), split="train", batch_size=batch_size, rank=r, world_size=world)]
            for r in range(world)
        ]
        assert {len(batches) for batches in streams} == {13 // world // batch_size}
        keys = [key for batches in streams for batch in batches for key in batch]
        assert len(set(keys)) == len(keys) == 13 // world // batch_size * world * batch_size


def test_another_number_of_workers_goes_on_with_the_samples_not_yet_seen(packed: tuple[str, Manifest]) -> None:
    def keys(batches: int, batch_size: int, world: int, legs: tuple[Leg, ...] = ()) -> list[str]:
        options = {"split": "train", "batch_size": batch_size, "world_size": world, "legs": legs, "epoch": 2}
        streams = [open_stream(packed[0], rank=rank, **options) for rank in range(world)]  # type: ignore[arg-type]
        return [key for stream in streams for batch in islice(stream, batches) for key in batch.keys]

    first, second = Leg(3, 2, 2), Leg(1, 5, 3)
    seen = keys(2, 2, 3) + keys(3, 5, 1, (first,)) + keys(99, 2, 2, (first, second))
    assert len(set(seen)) == len(seen) == 40 - (40 - 12 - 15) % 4
    assert keys(99, 4, 3, (Leg(1, 1, 39),)) == []  # too few are left for a batch on each: the epoch is over


def test_loader_processes_change_nothing(packed: tuple[str, Manifest]) -> None:
    alone = list(open_stream(packed[0], split="train", batch_size=4))
    for epoch in (0, 1):  # the processes outlive an epoch
        others = list(open_stream(packed[0], split="train", batch_size=4, epoch=epoch, options=ReadOptions(loaders=2)))
    others = list(open_stream(packed[0], split="train", batch_size=4, options=ReadOptions(loaders=2)))
    assert len(others) == len(alone) == 10
    for a, b in zip(alone, others, strict=True):
        assert a.keys == b.keys and torch.equal(a.images, b.images) and (a.captions, a.draws) == (b.captions, b.draws)


# What is damaged ------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(packed: tuple[str, Manifest], tmp_path: Path) -> Path:
    shutil.copytree(packed[0], tmp_path / "copy")
    return tmp_path / "copy"


SKIP = ReadOptions(on_bad_shard="skip", retry=Retry(first_wait=0.001))


def test_a_damaged_shard_is_named(copy: Path, packed: tuple[str, Manifest]) -> None:
    shard = packed[1].splits["train"].shards[2]
    content = bytearray((copy / shard.name).read_bytes())
    start, _ = load_index(str(copy), shard).span(3, 4)
    content[start : start + 300] = bytes(300)
    (copy / shard.name).write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{shard.name}: 1 of the samples 0–6 have other checksums"):
        list(open_stream(str(copy), split="train", batch_size=4))
    skipped = Skipped()
    batches = list(open_stream(str(copy), split="train", batch_size=4, options=SKIP, skipped=skipped))
    assert [len(b.keys) for b in batches] == [4] * 10 and len({k for b in batches for k in b.keys}) == 39
    assert skipped.samples == 1 and shard.name in next(iter(skipped.shards))


@pytest.mark.parametrize("lost", [1, 5])
def test_missing_shards_are_an_error_or_counted_and_replaced(
    copy: Path, packed: tuple[str, Manifest], lost: int
) -> None:
    for shard in packed[1].splits["train"].shards[:lost]:
        (copy / shard.name).unlink()
    with pytest.raises(DatasetError, match=r"train-00000\d.tar: not found"):
        list(open_stream(str(copy), split="train", batch_size=4))
    for world in (1, 4, 8):  # at 8 some workers have nothing that is left
        skipped, keys = Skipped(), []
        for rank in range(world):
            options = {"split": "train", "batch_size": 5, "rank": rank, "world_size": world}
            stream = open_stream(str(copy), options=SKIP, skipped=skipped, **options)  # type: ignore[arg-type]
            keys += [key for batch in stream for key in batch.keys]
        assert len(keys) == 40 and skipped.samples == 7 * lost
        assert len(set(keys)) == 40 - 7 * lost


def test_nothing_left_is_an_error(copy: Path, packed: tuple[str, Manifest]) -> None:
    for shard in packed[1].splits["train"].shards:
        (copy / shard.name).unlink()
    with pytest.raises(DatasetError, match="no sample can be read, not of any shard"):
        list(open_stream(str(copy), split="train", batch_size=4, options=SKIP))


def test_a_wrong_object_in_the_place_of_a_shard_is_named(copy: Path, packed: tuple[str, Manifest]) -> None:
    shards = packed[1].splits["train"].shards
    (copy / shards[1].name).write_bytes((copy / shards[2].name).read_bytes())
    with pytest.raises(DatasetError, match=rf"{shards[1].name}.*(not the one that was packed|is shorter)"):
        list(open_stream(str(copy), split="train", batch_size=4))


def break_images(url: Path, split: str, numbers: set[int]) -> None:
    """Make images undecodable as if they had been packed so: the checksums are theirs."""
    manifest, _ = load_manifest(str(url))
    part, shards = manifest.splits[split], []
    for shard, first in zip(part.shards, part.starts.tolist(), strict=True):
        content, index = bytearray((url / shard.name).read_bytes()), load_index(str(url), shard)
        sums = index.crc32.tolist()
        for i in range(shard.samples):
            if first + i in numbers:
                start, end = index.span(i, i + 1)
                picture = content.index(b"\xff\xd8\xff", start)
                content[picture + 20 : picture + 600] = bytes(580)
                sums[i] = zlib.crc32(content[start:end])
        rows = index_bytes(index.offsets.tolist(), sums)
        (url / shard.name).write_bytes(content)
        (url / shard.index).write_bytes(rows)
        checksums = {"sha256": hashlib.sha256(content).hexdigest(), "index_sha256": hashlib.sha256(rows).hexdigest()}
        shards.append(replace(shard, **checksums))
    splits = {**manifest.splits, split: replace(part, shards=ShardTable.of(split, shards))}
    write_manifest(str(url), replace(manifest, splits=splits))


@pytest.mark.parametrize("loaders", [0, 1])
def test_an_image_that_does_not_decode_is_replaced_and_counted(copy: Path, loaders: int) -> None:
    whole = list(open_stream(str(copy), split="train", batch_size=4))
    broken = {2, 3, 17}
    break_images(copy, "train", broken)
    skipped = Skipped()
    options = ReadOptions(loaders=loaders)
    batches = list(open_stream(str(copy), split="train", batch_size=4, skipped=skipped, options=options))
    keys = [key for b in batches for key in b.keys]
    assert len(keys) == 40 and len(set(keys)) == 37 and skipped.samples == 3
    assert all("the image does not decode" in reason for reason in skipped.images)
    known = {key: b.images[i] for b in whole for i, key in enumerate(b.keys)}
    assert all(torch.equal(b.images[i], known[key]) for b in batches for i, key in enumerate(b.keys))
    assert all(b.captions[row] and b.draws[row] is not None for b in batches for row in range(4))
    rest = list(open_stream(str(copy), split="train", batch_size=4, start=7, options=options))
    assert [b.keys for b in rest] == [b.keys for b in batches[7:]]
    break_images(copy, "test", {1})
    with pytest.raises(DatasetError, match="the image does not decode"):
        list(open_images(str(copy), "test", 4))


def test_a_broken_image_alone_in_its_block_is_replaced_from_elsewhere(copy: Path) -> None:
    for rank in range(40):  # one sample a worker
        (batch,) = open_stream(str(copy), split="train", batch_size=1, rank=rank, world_size=40)
        if batch.keys == [next(islice(load_captions(str(copy), "train"), 3, None)).key]:
            break
    break_images(copy, "train", {3})
    skipped = Skipped()
    (other,) = open_stream(str(copy), split="train", batch_size=1, rank=rank, world_size=40, skipped=skipped)
    assert other.keys != batch.keys and skipped.samples == 1


def test_verify_names_what_is_wrong(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(copy)]) == 0 and "as its manifest says" in capsys.readouterr().out
    manifest, _ = load_manifest(str(copy))
    train = manifest.splits["train"].shards
    break_images(copy, "test", {0})
    content = bytearray((copy / train[1].name).read_bytes())
    content[load_index(str(copy), train[1]).span(2, 3)[0] + 700] ^= 1
    (copy / train[1].name).write_bytes(content)
    (copy / train[2].name).write_bytes(b"short")
    (copy / train[3].name).unlink()
    (copy / train[0].captions).write_text("[]")
    assert verify.main([str(copy)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("datasets.verify: ")]
    for expected in (
        f"{train[0].captions}: has another checksum",
        f"{train[1].name}: has another checksum than the manifest's (samples 2)",
        f"{train[2].name}: has 5 bytes, the manifest says",
        f"{train[3].name}: not found",
        "the image does not decode",
    ):
        assert sum(expected in line for line in lines) == 1, (expected, lines)
    assert len(lines) == 5
    assert verify.main([str(copy / "nothing")]) == 2


def test_our_datasets_wins_over_a_foreign_one(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("raise ImportError('the foreign datasets')")
    root = Path(__file__).parents[2]
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import runpy; runpy.run_module('datasets.pack')"
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    plain = subprocess.run(
        [sys.executable, "-m", "datasets.pack", "--help"],
        cwd=root,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
    )
    assert plain.returncode == 0 and "[FORMAT] SOURCE DEST" in plain.stdout, plain.stderr
