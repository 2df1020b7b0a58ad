"""What a run says of itself while it trains: metrics.jsonl, Ray's metrics and the loggers asked for. On rank 0.

A logger is registered under a name (`loggers.register`) that the key `loggers` lists; `tensorboard` is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ray.util.metrics import Gauge

from datasets import storage
from datasets.errors import short_reason
from dmgan.runs.folder import RunFolder
from dmgan.runs.loggers import Logger, loggers
from dmgan.runs.metrics import MetricsLine
from dmgan.runs.run import Run

__all__ = ["Recorder"]


class Recorder:
    """Takes the lines of one stage; those after `step`, which a resumed run writes again, are dropped first."""

    def __init__(
        self, run: Run, stage: str, step: int, names: Sequence[str], warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self._log, self._warn = MetricsLog(run, stage, step), warn
        self._loggers: list[Logger] = [RayMetrics(run, stage, step)]
        for name in names:
            kind = loggers.get(name)
            with self._going_on(kind):
                self._loggers.append(kind(run, stage, step))

    def line(self, line: MetricsLine) -> None:
        self._log.append(line)
        self._tell(lambda logger: logger.line(line))

    def samples(self, png: bytes, step: int) -> None:
        self._tell(lambda logger: logger.samples(png, step))

    def save(self) -> None:
        """Have everything in the run's folder."""
        self._log.save()
        self._tell(lambda logger: logger.save())

    def close(self) -> None:
        self._tell(lambda logger: logger.close())

    def _tell(self, what: Callable[[Logger], None]) -> None:
        for logger in self._loggers:
            with self._going_on(type(logger)):
                what(logger)

    @contextmanager
    def _going_on(self, kind: type[Logger]) -> Iterator[None]:
        """A server of a logger that is away costs a warning, not the run."""
        try:
            yield
        except Exception as error:
            if not kind.may_fail:
                raise
            self._warn(f"{kind.__name__} was not told: {short_reason(error, 200)}; metrics.jsonl has everything")


class RayMetrics(Logger):
    """Gauges for Prometheus, which Ray serves and which asks for them."""

    def __init__(self, run: RunFolder, stage: str, step: int) -> None:
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
