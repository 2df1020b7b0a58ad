"""A step of training on several processes with DeepSpeed, and what its messages cost: `benchmarks.training --workers`.

Every process has its share of the processor's cores and the whole batch. A message is under way from the call that
sends it until it has arrived; it is hidden for as long as the process computes meanwhile, and not hidden while the
process waits for it. Waiting for a slower process counts as a message not hidden.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, wraps
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from benchmarks.training_ways import Work, our_training
from datasets.errors import UserError

__all__ = ["Messages", "check_device", "scaling", "scaling_table"]

# Of torch.distributed, those that DeepSpeed and `dmgan.model.collective` call.
_CALLS = (
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "barrier",
    "broadcast",
    "reduce",
    "reduce_scatter_tensor",
)

Row = dict[str, float]


@dataclass
class Messages:
    """When messages were under way, from and to, and the seconds that the process waited for them."""

    times: list[tuple[float, float]] = field(default_factory=list)
    waited: float = 0.0

    @property
    def under_way(self) -> float:
        """Seconds that there was any."""
        seconds, until = 0.0, 0.0
        for began, ended in sorted(self.times):
            seconds += max(0.0, ended - max(began, until))
            until = max(until, ended)
        return seconds

    def watch(self) -> None:
        """Stand before torch.distributed's calls, for good: DeepSpeed keeps some of them as it finds them."""
        for name in _CALLS:
            setattr(dist, name, self.watched(getattr(dist, name)))

    def begin(self) -> None:
        """Count from now on."""
        self.times, self.waited = [], 0.0

    def watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def watching(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            handle = call(*arguments, **options)
            self.waited += time.perf_counter() - began
            if handle is None:
                self.times.append((began, time.perf_counter()))
                return None
            handle.get_future().add_done_callback(lambda _: self.times.append((began, time.perf_counter())))
            return _Handle(handle, self)

        return watching


@dataclass
class _Handle:
    """What a call that does not wait gives."""

    handle: Any
    messages: Messages

    def wait(self, *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return self.handle.wait(*arguments)
        finally:
            self.messages.waited += time.perf_counter() - began

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handle, name)


def check_device(device: torch.device) -> None:
    """Raise UserError on a GPU, where calls return before their messages start."""
    if device.type != "cpu":
        raise UserError("--workers: messages are measured between CPU processes only; set CUDA_VISIBLE_DEVICES=''")


def scaling(work: Work, workers: list[int], stages: list[int], rounds: int) -> list[Row]:
    """One row for each number of workers at each ZeRO stage, and where messages can overlap one in which they do."""
    check_device(work.device)
    rows = []
    for stage, number, overlap in product(stages, workers, (False, True)):
        if overlap and (stage == 0 or number == 1):
            continue
        with tempfile.TemporaryDirectory() as folder:
            spawn(_worker, (number, stage, overlap, work, rounds, folder), nprocs=number)
            found = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(number)]
        # Workers step together: the slowest's time is the step's.
        row = {name: statistics.mean(each[name] for each in found) for name in found[0]}
        row["seconds"] = max(each["seconds"] for each in found)
        rate = number * work.batch / row["seconds"]
        rows.append(row | {"workers": number, "zero_stage": stage, "overlap": overlap, "images_per_second": rate})
    return rows


def _worker(rank: int, workers: int, stage: int, overlap: bool, work: Work, rounds: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(workers)}
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    messages = Messages()
    messages.watch()
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=workers)
    from cluster.worker import engines

    engines.initialise(work.device)
    training = our_training(work, make_engine=partial(engines.DeepSpeedEngine, zero_stage=stage, overlap=overlap))
    given = work.images_and_captions()
    training.step(given, 0)
    found: list[tuple[float, float, float, float]] = []
    for number in range(rounds):
        dist.barrier()
        messages.begin()
        began = time.perf_counter()
        training.step(given, number + 1)
        spent = time.perf_counter() - began
        found.append((spent, messages.under_way, messages.waited, len(messages.times)))
    seconds, under_way, waited, sent = (statistics.median(column) for column in zip(*found, strict=True))
    hidden = max(0.0, under_way - waited)
    row = {"seconds": seconds, "messages": sent, "messages_hidden": hidden, "messages_not_hidden": waited}
    torch.save(row, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def scaling_table(rows: list[Row]) -> str:
    """As in docs/speed.md; efficiency is per worker against the first row."""
    first = rows[0]["images_per_second"] / rows[0]["workers"]
    lines = [
        "| workers | ZeRO | overlap | s | images/s | efficiency | messages | hidden, s | not hidden, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        efficiency = row["images_per_second"] / row["workers"] / first
        lines.append(
            f"| {row['workers']:.0f} | {row['zero_stage']:.0f} | {'yes' if row['overlap'] else 'no'} "
            f"| {row['seconds']:.2f} | {row['images_per_second']:.2f} "
            f"| {efficiency:.0%} | {row['messages']:.0f} "
            f"| {row['messages_hidden']:.2f} | {row['messages_not_hidden']:.2f} |"
        )
    return "\n".join(lines)
