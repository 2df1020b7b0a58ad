"""`mlflow`: an MLflow run at MLFLOW_TRACKING_URI, or in STORAGE/mlruns without one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from datasets import storage
from dmgan.config import ConfigError, known_keys
from dmgan.runs.folder import RunFolder
from dmgan.runs.loggers.logger import Logger, needs, scalars
from dmgan.runs.metrics import MetricsLine

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["MLflow"]

_RECORD = "mlflow.json"  # which MLflow run this run is
_PARAMETERS = 100  # that a request may have
_LONGEST = 500  # characters of a parameter that every backend takes


class MLflow(Logger):
    """Metrics as STAGE/…, samples as artifacts, the configuration as parameters; a resumed run goes on with its own."""

    may_fail: ClassVar[bool] = True

    def __init__(self, run: RunFolder, stage: str, step: int) -> None:
        self._run, self._stage = run, stage
        self._client = _client(run)
        self._id = self._known() or self._new()
        self._client.update_run(self._id, status="RUNNING")

    @classmethod
    def check(cls, run: RunFolder) -> None:
        needs("mlflow", "mlflow")
        if not storage.is_local(run.url) and not os.environ.get("MLFLOW_TRACKING_URI"):
            raise ConfigError(
                "loggers=mlflow: MLFLOW_TRACKING_URI is not set; expected where MLflow keeps the runs, because "
                f"{run.url} is in a bucket"
            )

    def line(self, line: MetricsLine) -> None:
        self._metrics(self._stage, scalars(line), line.step)

    def samples(self, png: bytes, step: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"step_{step:08d}.png"
            path.write_bytes(png)
            self._client.log_artifact(self._id, str(path), "samples")

    def scores(self, values: Mapping[str, float], step: int) -> None:
        self._metrics("scores", values, step)

    def close(self) -> None:
        self._client.set_terminated(self._id, "FINISHED")

    def _metrics(self, group: str, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(
            self._id, [Metric(f"{group}/{name}", value, now, step) for name, value in values.items()]
        )

    def _known(self) -> str | None:
        """The run's own MLflow run, where the tracking server still has it."""
        from mlflow.exceptions import MlflowException

        if not self._run.has(_RECORD):
            return None
        found = self._run.read_json(_RECORD)
        try:
            return str(self._client.get_run(found["run_id"]).info.run_id)
        except (MlflowException, KeyError, TypeError):
            return None

    def _new(self) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "dmgan")
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment is not None else self._client.create_experiment(name)
        made = str(self._client.create_run(number, run_name=self._run.name).info.run_id)
        self._run.write_json(_RECORD, {"run_id": made, "experiment": name})
        if self._run.has("run.yaml"):
            config = self._run.read_config()
            every = [Param(key, str(config.value(key))[:_LONGEST]) for key in known_keys()]
            for first in range(0, len(every), _PARAMETERS):
                self._client.log_batch(made, params=every[first : first + _PARAMETERS])
        return made


def _client(run: RunFolder) -> MlflowClient:
    from mlflow import MlflowClient

    where = os.environ.get("MLFLOW_TRACKING_URI")
    if where is None:
        where = "file://" + storage.join(run.url.rpartition("/")[0], "mlruns")
    if where.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow advises a database, which needs a server
    return MlflowClient(tracking_uri=where)
