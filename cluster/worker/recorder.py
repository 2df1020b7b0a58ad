"""What a run says of itself while it trains: metrics.jsonl, TensorBoard and Ray's metrics. On rank 0."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from ray.util.metrics import Gauge
from tensorboardX import SummaryWriter

from datasets import storage
from dmgan.runs.run import Run

__all__ = ["Recorder"]


class Recorder:
    """Takes the lines of one stage; those after `step`, which a resumed run writes again, are dropped first."""

    def __init__(self, run: Run, stage: str, step: int) -> None:
        self._run, self._stage = run, stage
        self._log = MetricsLog(run, stage, step)
        self._remote = not storage.is_local(run.url)
        self._folder = Path(tempfile.mkdtemp(prefix="dmgan-tensorboard-") if self._remote else run.path("tensorboard"))
        self._board = SummaryWriter(str(self._folder / stage), purge_step=step + 1 if step else None)
        tags = {"run": run.name, "stage": stage}
        self._gauges = {
            name: _gauge(f"dmgan_{name}", text, tags)
            for name, text in (
                ("images_per_second", "Training images per second, all workers together."),
                ("step", "Training steps done."),
                ("epoch", "Epochs done, with the part of the one begun."),
                ("skipped_samples", "Samples that could not be read and were replaced, since the last log line."),
            )
        }
        text = "Losses as minimised, mean over workers."
        self._losses = Gauge("dmgan_loss", description=text, tag_keys=(*tags, "loss"))
        self._tags = tags

    def line(self, line: dict[str, Any]) -> None:
        self._log.append(line)
        step = line["step"]
        for name in ("images_per_second", "epoch"):
            self._board.add_scalar(name, line[name], step)
        for group in ("losses", "statistics"):
            for name, value in line.get(group, {}).items():
                self._board.add_scalar(f"{group}/{name}", value, step)
        for warning in line.get("warnings", ()):
            self._board.add_text("warnings", warning, step)
        for name, gauge in self._gauges.items():
            gauge.set(line.get("skipped", {}).get("samples", 0) if name == "skipped_samples" else line[name])
        for name, value in line["losses"].items():
            self._losses.set(value, {**self._tags, "loss": name})

    def save(self) -> None:
        """Have everything in the run's folder."""
        self._log.save()
        self._board.flush()
        if self._remote:
            for path in self._folder.rglob("events.*"):
                name = path.relative_to(self._folder).as_posix()
                storage.write_bytes(self._run.path("tensorboard", name), path.read_bytes())


def _gauge(name: str, text: str, tags: dict[str, str]) -> Gauge:
    gauge = Gauge(name, description=text, tag_keys=tuple(tags))
    gauge.set_default_tags(tags)
    return gauge


class MetricsLog:
    """metrics.jsonl, one JSON object a line. Starting at `step` drops later lines, which a resumed run writes again."""

    SAVE_SECONDS = 10.0

    def __init__(self, run: Run, stage: str, step: int) -> None:
        self._run, self._saved = run, 0.0
        kept = [m for m in run.read_metrics() if m["stage"] != stage or m["step"] <= step]
        self._lines = [json.dumps(line) for line in kept]
        self._stage = stage

    def append(self, line: dict[str, Any]) -> None:
        """Add a line; it is in the file within `SAVE_SECONDS` of the next one, or at `save`."""
        self._lines.append(json.dumps({"stage": self._stage, **line}))
        if time.monotonic() - self._saved > self.SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the whole file: object stores cannot append."""
        self._saved = time.monotonic()
        storage.write_bytes(self._run.path("metrics.jsonl"), ("\n".join(self._lines) + "\n").encode())
