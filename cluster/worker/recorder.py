"""What a run says of itself while it trains: metrics.jsonl, Ray's metrics and the loggers asked for. On rank 0.

A logger is registered under a name (`loggers.register`) that the key `loggers` lists; `tensorboard` is one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ray.util.metrics import Gauge

from datasets import storage
from dmgan.runs.loggers import Logger, loggers
from dmgan.runs.metrics import MetricsLine
from dmgan.runs.run import Run

__all__ = ["Recorder"]


class Recorder:
    """Takes the lines of one stage; those after `step`, which a resumed run writes again, are dropped first."""

    def __init__(self, run: Run, stage: str, step: int, names: Sequence[str]) -> None:
        self._log = MetricsLog(run, stage, step)
        self._loggers: list[Logger] = [RayMetrics(run, stage), *(loggers.get(name)(run, stage, step) for name in names)]

    def line(self, line: MetricsLine) -> None:
        self._log.append(line)
        for logger in self._loggers:
            logger.line(line)

    def save(self) -> None:
        """Have everything in the run's folder."""
        self._log.save()
        for logger in self._loggers:
            logger.save()


class RayMetrics:
    """Gauges for Prometheus, which Ray serves."""

    def __init__(self, run: Run, stage: str) -> None:
        self._tags = {"run": run.name, "stage": stage}
        self._gauges = {
            name: _gauge(f"dmgan_{name}", text, self._tags)
            for name, text in (
                ("images_per_second", "Training images per second, all workers together."),
                ("step", "Training steps done."),
                ("epoch", "Epochs done, with the part of the one begun."),
                ("skipped_samples", "Samples that could not be read and were replaced, since the last log line."),
            )
        }
        text = "Losses as minimised, mean over workers."
        self._losses = Gauge("dmgan_loss", description=text, tag_keys=(*self._tags, "loss"))

    def line(self, line: MetricsLine) -> None:
        self._gauges["images_per_second"].set(line.images_per_second)
        self._gauges["step"].set(line.step)
        self._gauges["epoch"].set(line.epoch)
        self._gauges["skipped_samples"].set(line.skipped.samples if line.skipped else 0)
        for name, value in line.losses.items():
            self._losses.set(value, {**self._tags, "loss": name})

    def save(self) -> None:
        pass  # Prometheus asks


def _gauge(name: str, text: str, tags: dict[str, str]) -> Gauge:
    gauge = Gauge(name, description=text, tag_keys=tuple(tags))
    gauge.set_default_tags(tags)
    return gauge


class MetricsLog:
    """metrics.jsonl, one JSON object a line. Starting at `step` drops later lines, which a resumed run writes again."""

    SAVE_SECONDS = 10.0

    def __init__(self, run: Run, stage: str, step: int) -> None:
        self._run, self._saved = run, 0.0
        self._lines = [line for line in run.read_metrics() if line.stage != stage or line.step <= step]

    def append(self, line: MetricsLine) -> None:
        """Add a line; it is in the file within `SAVE_SECONDS` of the next one, or at `save`."""
        self._lines.append(line)
        if time.monotonic() - self._saved > self.SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the whole file: object stores cannot append."""
        self._saved = time.monotonic()
        text = "".join(line.model_dump_json(exclude_defaults=True) + "\n" for line in self._lines)
        storage.write_bytes(self._run.path("metrics.jsonl"), text.encode())
