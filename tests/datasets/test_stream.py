from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.manifest import Manifest, Shard, Split
from datasets.plan import plan_epoch
from datasets.stream import DatasetError, open_images, open_stream


def synthetic_split(sizes: list[int]) -> Split:
    shards = tuple(Shard(f"{i}.tar", "", n * 10, tuple(range(0, n * 10, 10))) for i, n in enumerate(sizes))
    return Split(sum(sizes), sum(sizes), 1, shards)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=6),
    world=st.integers(1, 9),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
)
def test_every_sample_goes_to_exactly_one_worker(sizes: list[int], world: int, epoch: int, shuffle: bool) -> None:
    split = synthetic_split(sizes)
    seen: list[tuple[int, int]] = []
    shares = []
    for rank in range(world):
        before = len(seen)
        for block in plan_epoch(split, rank=rank, world_size=world, epoch=epoch, seed=3, shuffle=shuffle):
            samples = [(s.shard, i) for s in block.segments for i in range(s.first, s.last)]
            assert sorted(block.order) == list(range(len(samples)))
            seen += samples
        shares.append(len(seen) - before)
    assert sorted(seen) == [(shard, i) for shard, n in enumerate(sizes) for i in range(n)]
    assert max(shares) - min(shares) <= 1


def test_batches_are_what_training_expects(packed: tuple[str, Manifest]) -> None:
    batches = list(open_stream(packed[0], split="train", batch_size=6))
    assert len(batches) == 40 // 6
    batch = batches[0]
    assert batch["image"].shape == (6, 3, 64, 64) and batch["image"].dtype == torch.uint8
    assert batch["caption"].shape == (6, 18) and batch["caption"].dtype == torch.int64
    assert ((batch["caption"] != 0).sum(1) == batch["length"]).all()
    assert len({key for b in batches for key in b["key"]}) == 36


def test_epochs_differ_and_repeat(packed: tuple[str, Manifest]) -> None:
    def keys(**options: int) -> list[str]:
        return [k for b in open_stream(packed[0], split="train", batch_size=4, **options) for k in b["key"]]

    assert keys() == keys()
    assert keys(epoch=1) != keys() and sorted(keys(epoch=1)) == sorted(keys())
    assert keys(seed=1) != keys()


@pytest.mark.parametrize("start", [0, 1, 4])
def test_starting_in_the_middle_gives_the_remaining_batches(packed: tuple[str, Manifest], start: int) -> None:
    whole = list(open_stream(packed[0], split="train", batch_size=4, rank=1, world_size=2))
    rest = list(open_stream(packed[0], split="train", batch_size=4, rank=1, world_size=2, start=start))
    assert len(rest) == len(whole) - start
    for a, b in zip(whole[start:], rest, strict=True):
        assert a["key"] == b["key"] and torch.equal(a["image"], b["image"]) and torch.equal(a["caption"], b["caption"])


def test_crops_and_captions_do_not_depend_on_the_worker(packed: tuple[str, Manifest]) -> None:
    def by_key(world: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        found = {}
        for rank in range(world):
            for batch in open_stream(packed[0], split="train", batch_size=1, rank=rank, world_size=world):
                found[batch["key"][0]] = (batch["image"][0], batch["caption"][0])
        return found

    one, three = by_key(1), by_key(3)
    assert len(one) == 40 and len(three) == 39  # 40 = 3·13 + 1: all workers have the same number of batches
    for key, (image, caption) in three.items():
        assert torch.equal(image, one[key][0]) and torch.equal(caption, one[key][1])


def test_more_workers_than_shards_and_than_samples(packed: tuple[str, Manifest]) -> None:
    keys = [
        key
        for rank in range(10)
        for batch in open_stream(packed[0], split="train", batch_size=4, rank=rank, world_size=10)
        for key in batch["key"]
    ]
    assert len(set(keys)) == len(keys) == 40
    with pytest.raises(ValueError, match="40 samples, fewer than one batch of 1 for each of 41 workers"):
        next(open_stream(packed[0], split="train", batch_size=1, world_size=41))


def test_all_images_of_a_split_each_once(packed: tuple[str, Manifest]) -> None:
    whole = torch.cat(list(open_images(packed[0], "test", batch_size=8)))
    parts = [torch.cat(list(open_images(packed[0], "test", 8, rank, 4))) for rank in range(4)]
    assert torch.equal(torch.cat(parts), whole) and len(whole) == 30


def test_a_damaged_shard_is_named(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    for path in Path(packed[0]).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = packed[1].splits["train"].shards[2]
    content = bytearray((tmp_path / shard.name).read_bytes())
    content[shard.offsets[3] : shard.offsets[3] + 300] = bytes(300)  # a wiped header ends a tar silently
    (tmp_path / shard.name).write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{shard.name}.*hold 3 samples, the manifest says 7"):
        list(open_stream(str(tmp_path), split="train", batch_size=4))


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
    assert plain.returncode == 0 and "cub|birds" in plain.stdout, plain.stderr
