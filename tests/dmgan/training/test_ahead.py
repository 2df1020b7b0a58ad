from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dmgan.training.ahead import ahead
from dmgan.training.batch import TrainingBatch
from tests.small import batch

CPU = torch.device("cpu")


class Recorded:
    """A lane that writes down what happens on it."""

    def __init__(self) -> None:
        self.happened: list[str] = []

    @contextmanager
    def within(self) -> Iterator[None]:
        self.happened.append("copy")
        yield

    def mark(self) -> int:
        return self.happened.count("copy")

    def arrived(self, mark: int, batch: TrainingBatch) -> None:
        self.happened.append(f"wait for {mark}")


def source(lane: Recorded, count: int) -> Iterator[tuple[int, TrainingBatch]]:
    for number in range(count):
        lane.happened.append(f"read {number}")
        yield number, batch()


def test_the_next_batch_is_under_way_before_one_is_trained_on_and_each_is_waited_for() -> None:
    lane = Recorded()
    for number, _ in ahead(source(lane, 3), CPU, lane, depth=1):
        lane.happened.append(f"train {number}")
    assert lane.happened == [
        *("read 0", "copy", "read 1", "copy", "wait for 1", "train 0"),
        *("read 2", "copy", "wait for 2", "train 1"),
        *("wait for 3", "train 2"),
    ]


def test_none_is_lost_and_none_changes() -> None:
    given = [(str(i), batch(size)) for i, size in enumerate((2, 4, 6))]
    for depth in (0, 1, 5):
        found = list(ahead(given, CPU, depth=depth))
        assert [label for label, _ in found] == ["0", "1", "2"]
        for (_, ours), (_, theirs) in zip(found, given, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours.tensors, theirs.tensors, strict=True))
