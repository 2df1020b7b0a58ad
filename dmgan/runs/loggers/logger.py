"""What a logger is, what the ready ones have in common, and the registry of their names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from datasets import storage
from datasets.registry import Registry
from dmgan.config import ConfigError
from dmgan.runs.folder import RunFolder
from dmgan.runs.metrics import MetricsLine

__all__ = ["Folder", "Logger", "logger_environment", "loggers", "needs", "scalars"]


class Logger:
    """Made on rank 0 when a stage starts, and by the driver for an evaluation; lines after `step` will come again.

    `stage` is pretrain, train or evaluate. A subclass overrides what it has a use for.
    """

    # Whether it talks to a server that may be away: training then goes on with a warning.
    may_fail: ClassVar[bool] = False

    def __init__(self, run: RunFolder, stage: str, step: int) -> None:
        pass

    @classmethod
    def check(cls, run: RunFolder) -> None:
        """Raise ConfigError where it cannot work; called before anything starts."""

    def line(self, line: MetricsLine) -> None:
        """Take a line, soon after its step."""

    def samples(self, png: bytes, step: int) -> None:
        """Take the picture of the fixed captions: one row a caption, one column a stage."""

    def scores(self, values: Mapping[str, float], step: int) -> None:
        """Take an evaluation's scores of the generator after `step` steps, means by name."""

    def save(self) -> None:
        """Have everything where it belongs; called at every checkpoint, and at the end."""

    def close(self) -> None:
        """Nothing comes any more of this stage."""


loggers: Registry[type[Logger]] = Registry("logger", "loggers")

# What says where the loggers' servers are; their keys stay in the environment of the nodes.
_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "WANDB_MODE",
    "WANDB_PROJECT",
    "WANDB_ENTITY",
    "WANDB_BASE_URL",
)


def logger_environment() -> dict[str, str]:
    """Those variables that are set here, for workers on other nodes. None of them is a secret."""
    return {key: os.environ[key] for key in _VARIABLES if key in os.environ}


def needs(package: str, extra: str) -> None:
    """Raises ConfigError where the package of a logger is not installed."""
    if find_spec(package) is None:
        raise ConfigError(
            f"loggers={extra}: {package} is not installed; `pip install -c constraints.txt .[{extra}]` brings it"
        )


def scalars(line: MetricsLine) -> dict[str, float]:
    """The numbers of a line by name, in groups: losses/…, statistics/…, learning_rates/…."""
    return {
        "images_per_second": line.images_per_second,
        "epoch": line.epoch,
        **{f"losses/{name}": value for name, value in line.losses.items()},
        **{f"statistics/{name}": value for name, value in line.statistics.items()},
        **{f"learning_rates/{name}": value for name, value in line.learning_rates.items()},
    }


class Folder:
    """A folder of the run that a library writes: in place, or here for a while and uploaded to the bucket."""

    def __init__(self, run: RunFolder, name: str) -> None:
        self._run, self._name = run, name
        self._remote = not storage.is_local(run.url)
        self.path = Path(tempfile.mkdtemp(prefix=f"dmgan-{name}-") if self._remote else run.path(name))
        self._uploaded: dict[Path, tuple[int, int]] = {}  # size and time of each file when it was

    def upload(self) -> None:
        """Copy to the bucket what has changed since."""
        if not self._remote:
            return
        for path in sorted(path for path in self.path.rglob("*") if path.is_file() and not path.is_symlink()):
            now = (path.stat().st_size, path.stat().st_mtime_ns)
            if self._uploaded.get(path) != now:
                name = path.relative_to(self.path).as_posix()
                storage.write_bytes(self._run.path(self._name, name), path.read_bytes())
                self._uploaded[path] = now
