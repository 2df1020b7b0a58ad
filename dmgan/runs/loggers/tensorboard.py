"""`tensorboard`: RUN/tensorboard/STAGE, to be shown by `tensorboard --logdir STORAGE`."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from dmgan.runs.folder import RunFolder
from dmgan.runs.loggers.logger import Folder, Logger, scalars
from dmgan.runs.metrics import MetricsLine

__all__ = ["TensorBoard"]


class TensorBoard(Logger):
    """Losses, statistics, warnings, images per second, samples, scores."""

    def __init__(self, run: RunFolder, stage: str, step: int) -> None:
        from tensorboardX import SummaryWriter

        self._folder = Folder(run, "tensorboard")
        # Files are named by the second: that of an earlier start stays.
        again = {"purge_step": step + 1, "filename_suffix": f".{step}"} if step else {}
        self._board = SummaryWriter(str(self._folder.path / stage), **again)

    def line(self, line: MetricsLine) -> None:
        for name, value in scalars(line).items():
            self._board.add_scalar(name, value, line.step)
        for warning in line.warnings:
            self._board.add_text("warnings", warning, line.step)

    def samples(self, png: bytes, step: int) -> None:
        with Image.open(io.BytesIO(png)) as picture:
            self._board.add_image("samples", np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def scores(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._board.add_scalar(f"scores/{name}", value, step)

    def save(self) -> None:
        self._board.flush()
        self._folder.upload()

    def close(self) -> None:
        self._board.close()
        self._folder.upload()
