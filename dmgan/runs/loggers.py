"""Loggers by name: what is told of training beside metrics.jsonl. docs/extending.md shows how to add one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from datasets import storage
from datasets.registry import Registry
from dmgan.runs.metrics import MetricsLine
from dmgan.runs.run import Run

__all__ = ["Logger", "TensorBoard", "loggers"]


class Logger(Protocol):
    """Made on rank 0 as `kind(run, stage, step)` when a stage starts; lines after `step` will come again."""

    def line(self, line: MetricsLine) -> None:
        """Take a line, soon after its step."""

    def save(self) -> None:
        """Have everything where it belongs; called at every checkpoint, and at the end."""


loggers: Registry[Callable[[Run, str, int], Logger]] = Registry("logger", "loggers")


class TensorBoard:
    """RUN/tensorboard/STAGE: losses, statistics, warnings, images per second."""

    def __init__(self, run: Run, stage: str, step: int) -> None:
        from tensorboardX import SummaryWriter

        self._run, self._remote = run, not storage.is_local(run.url)
        self._folder = Path(tempfile.mkdtemp(prefix="dmgan-tensorboard-") if self._remote else run.path("tensorboard"))
        self._board = SummaryWriter(str(self._folder / stage), purge_step=step + 1 if step else None)

    def line(self, line: MetricsLine) -> None:
        self._board.add_scalar("images_per_second", line.images_per_second, line.step)
        self._board.add_scalar("epoch", line.epoch, line.step)
        for group, values in (("losses", line.losses), ("statistics", line.statistics)):
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, line.step)
        for warning in line.warnings:
            self._board.add_text("warnings", warning, line.step)

    def save(self) -> None:
        self._board.flush()
        if self._remote:
            for path in self._folder.rglob("events.*"):
                name = path.relative_to(self._folder).as_posix()
                storage.write_bytes(self._run.path("tensorboard", name), path.read_bytes())


loggers.register("tensorboard", TensorBoard)
