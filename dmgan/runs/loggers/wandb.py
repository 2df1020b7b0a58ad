"""`wandb`: a run of Weights & Biases; with WANDB_MODE=offline in RUN/wandb, for `wandb sync` later."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Mapping
from typing import ClassVar

from PIL import Image

from dmgan.config import ConfigError
from dmgan.runs.folder import RunFolder
from dmgan.runs.loggers.logger import Folder, Logger, needs, scalars
from dmgan.runs.metrics import MetricsLine

__all__ = ["WeightsAndBiases"]


class WeightsAndBiases(Logger):
    """Metrics as STAGE/… over STAGE/step, samples, scores, the configuration; a resumed run goes on with its own."""

    may_fail: ClassVar[bool] = True

    def __init__(self, run: RunFolder, stage: str, step: int) -> None:
        import wandb

        self._stage, self._folder = stage, Folder(run, "wandb")
        self._folder.path.mkdir(parents=True, exist_ok=True)
        while list(self._folder.path.glob(f"wandb/*-{time.strftime('%Y%m%d_%H%M%S')}-*")):
            time.sleep(0.1)  # W&B names folders by the second: one of this second would be written over
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "dmgan"),
            id=hashlib.sha256(run.url.encode()).hexdigest()[:16],  # the same for every stage and start
            name=run.name,
            resume="allow",
            dir=str(self._folder.path),
            config=run.read_config().model_dump(mode="json") if run.has("run.yaml") else None,
            settings=wandb.Settings(silent=True, console="off"),
        )
        for group in (stage, "scores"):
            self._run.define_metric(f"{group}/*", step_metric=f"{group}/step")

    @classmethod
    def check(cls, run: RunFolder) -> None:
        needs("wandb", "wandb")
        import wandb

        offline = os.environ.get("WANDB_MODE") in ("offline", "disabled")
        if not offline and not os.environ.get("WANDB_API_KEY") and wandb.api.api_key is None:
            raise ConfigError(
                "loggers=wandb: no key; expected WANDB_API_KEY, a `wandb login` before, or WANDB_MODE=offline"
            )

    def line(self, line: MetricsLine) -> None:
        self._log(self._stage, scalars(line), line.step)

    def samples(self, png: bytes, step: int) -> None:
        import wandb

        with Image.open(io.BytesIO(png)) as picture:
            self._run.log({f"{self._stage}/step": step, f"{self._stage}/samples": wandb.Image(picture)})

    def scores(self, values: Mapping[str, float], step: int) -> None:
        self._log("scores", values, step)

    def save(self) -> None:
        self._folder.upload()

    def close(self) -> None:
        import wandb

        self._run.finish()
        wandb.teardown()  # its service writes the last of the file after `finish` has returned
        self._folder.upload()

    def _log(self, group: str, values: Mapping[str, float], step: int) -> None:
        self._run.log({f"{group}/step": step, **{f"{group}/{name}": value for name, value in values.items()}})
