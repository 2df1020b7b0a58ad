"""Batches on their way to the device while it trains on those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

import torch

from dmgan.training.batch import TrainingBatch

__all__ = ["Lane", "ahead", "lane_of"]

Label = TypeVar("Label")


class Lane(Protocol):
    """Where copies to the device run, beside the training's own work on it."""

    def within(self) -> AbstractContextManager[object]:
        """What is copied within it runs on the lane."""

    def mark(self) -> Any:
        """The end of what has been copied so far."""

    def arrived(self, mark: Any, batch: TrainingBatch) -> None:
        """The training's work from now on waits for the mark, on the device; the host does not."""


def lane_of(device: torch.device) -> Lane:
    return CudaLane(device) if device.type == "cuda" else NoLane()


class NoLane:
    """On the CPU nothing is copied."""

    def within(self) -> AbstractContextManager[object]:
        return nullcontext()

    def mark(self) -> None:
        return None

    def arrived(self, mark: None, batch: TrainingBatch) -> None:
        pass


class CudaLane:
    """A CUDA stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    def within(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._stream)

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event()
        event.record(self._stream)
        return event

    def arrived(self, mark: torch.cuda.Event, batch: TrainingBatch) -> None:
        training = torch.cuda.current_stream(self._device)
        training.wait_event(mark)
        for tensor in batch.tensors:
            tensor.record_stream(training)  # lest its memory is given to the next batch while the training reads it


def ahead(
    batches: Iterable[tuple[Label, TrainingBatch]], device: torch.device, lane: Lane | None = None, *, depth: int
) -> Iterator[tuple[Label, TrainingBatch]]:
    """The batches on the device, in their order; `depth` more than the one that is taken are under way."""
    lane = lane or lane_of(device)
    waiting: deque[tuple[Label, TrainingBatch, Any]] = deque()
    for label, batch in batches:
        with lane.within():
            moved = batch.to(device)
        waiting.append((label, moved, lane.mark()))
        if len(waiting) > depth:
            yield _taken(waiting, lane)
    while waiting:
        yield _taken(waiting, lane)


def _taken(waiting: deque[tuple[Label, TrainingBatch, Any]], lane: Lane) -> tuple[Label, TrainingBatch]:
    label, batch, mark = waiting.popleft()
    lane.arrived(mark, batch)
    return label, batch
