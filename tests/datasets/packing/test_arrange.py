"""Which samples a shard holds, whatever blobs they are in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.packing import arrange
from datasets.packing.arrange import Catalogue
from datasets.packing.decisions import Decisions
from datasets.packing.spool import ROW, SPLITS

PLACES = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 20), st.just(2**63))
SAMPLES = st.lists(st.tuples(st.sampled_from(SPLITS), PLACES), min_size=1, max_size=80)


def catalogue(blobs: list[list[tuple[str, int]]], decisions: Decisions) -> Catalogue:
    parts, named, first = [], [], 0
    for number, samples in enumerate(blobs):
        rows = np.zeros(len(samples), ROW)
        for row, (split, place) in zip(rows, sorted(samples, key=lambda s: (SPLITS.index(s[0]), s[1])), strict=True):
            row["split"], row["place"], row["size"] = SPLITS.index(split), place, 7
        rows["offset"] = 7 * np.arange(len(rows))
        parts.append(rows)
        named.append((f"blob-{number}", first, len(rows)))
        first += len(rows)
    return Catalogue(np.concatenate(parts), named, decisions)


@settings(max_examples=150, deadline=None)
@given(blobs=st.lists(SAMPLES, min_size=1, max_size=4), each=st.integers(1, 30), merged=st.booleans())
@pytest.mark.parametrize("sorted_at_once", [1 << 22, 5])
def test_every_sample_is_in_one_shard_and_its_bytes_are_asked_for(
    sorted_at_once: int, blobs: list[list[tuple[str, int]]], each: int, merged: bool
) -> None:
    renamed = {split: "test" if merged and split == "validation" else split for split in SPLITS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrange, "_SORTED", sorted_at_once)
        found = catalogue(blobs, Decisions(renamed, None, {}, ()))
        for split in dict.fromkeys(renamed.values()):
            wanted = sorted(place for samples in blobs for s, place in samples if renamed[s] == split)
            gatherings = list(found.gatherings(split, each))
            shards = [shard for gathering in gatherings for shard in gathering.shards]
            held = [[place for place in wanted if shard.low <= place < shard.high] for shard in shards]
            assert sorted(place for places in held for place in places) == wanted
            # Samples of one place stay together, even if they are more than a shard should hold.
            assert all(len(set(places)) <= each and places for places in held)
            assert [shard.name for shard in shards] == [f"{split}-{i:06d}.tar" for i in range(len(shards))]
            asked = sum(stretch.end - stretch.start for gathering in gatherings for stretch in gathering.stretches)
            assert asked == 7 * len(wanted)


def test_shards_are_full_but_the_last() -> None:
    places = np.random.default_rng(0).integers(0, 2**63, 1003).tolist()
    found = catalogue([[("train", place) for place in places]], Decisions({"train": "train"}, None, {}, ()))
    shards = [shard for gathering in found.gatherings("train", 100) for shard in gathering.shards]
    assert [sum(s.low <= place < s.high for place in places) for s in shards] == [100] * 10 + [3]


def test_the_image_that_becomes_the_test_split_leaves_training() -> None:
    places = [("train", place) for place in (3, 9, 5, 7)]
    found = catalogue([places], Decisions({split: split for split in SPLITS}, 5, {}, ()))
    (test,) = found.gatherings("test", 10)
    assert [(shard.name, shard.low <= 5 < shard.high) for shard in test.shards] == [("test-000000.tar", True)]
    assert [(stretch.start, stretch.end) for stretch in test.stretches] == [(7, 14)]
