"""Drawing on a Ray cluster: Ray Data hands batches of a plan to actors, each of which has the networks.

Files travel and pixels do not: an actor makes the pictures' files, the driver writes them in the plan's order, so that
what is written is the same on any number of workers. Ray Data holds a bounded number of batches at a time, and starts
an actor that was lost again.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import ray
import torch
from ray.exceptions import RayError

from cluster.driver.resources import ClusterError, ray_cluster
from cluster.placement import uses_gpus
from datasets.errors import UserError, short_reason
from datasets.storage.environment import storage_environment
from dmgan.allocator import keep_freed_memory
from dmgan.config import Config
from dmgan.drawing.picture import Look, Picture
from dmgan.drawing.plan import Plan
from dmgan.drawing.text_to_image import TextToImage
from dmgan.runs.run import Run

__all__ = ["Artist", "pictures_on_cluster"]

_BLOCKS = 2000  # at most, of batches that are handed out together


@dataclass(frozen=True)
class Artist:
    """The generator to draw with: as `TextToImage.from_run` has it."""

    run: Run
    config: Config
    step: int
    device: str | None
    dtype: str | None

    def model(self) -> TextToImage:
        keep_freed_memory()
        return TextToImage.from_run(self.run.url, self.step, self.device, self.dtype, config=self.config)


@contextmanager
def pictures_on_cluster(artist: Artist, plan: Plan, look: Look, batch_size: int) -> Iterator[Iterator[Picture]]:
    """The plan's pictures in order, made by `train.workers` actors. Raises ClusterError, and what a worker raised."""
    with ray_cluster(artist.config, artist.run.url, needs_dataset=False):
        yield _pictures(artist, plan, look, batch_size)


def _pictures(artist: Artist, plan: Plan, look: Look, batch_size: int) -> Iterator[Picture]:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    batches, workers = -(-len(plan) // batch_size), artist.config.train.workers
    # Not `range`, whose tasks would wait for a core while the actors have all of them.
    numbers = ray.data.from_items([{"id": n} for n in range(batches)], override_num_blocks=min(batches, _BLOCKS))
    drawn = numbers.map_batches(
        _Drawer,
        fn_constructor_args=(artist, plan, look, batch_size, storage_environment()),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, batches)),
        num_cpus=1,
        num_gpus=int(uses_gpus(artist.config)),
    )
    try:
        for row in drawn.iter_rows():
            yield from pickle.loads(row["pictures"])
    except RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        said = short_reason(error, 200)
        raise ClusterError(f"--workers {workers}: a worker failed: {said}") from error


class _Drawer:
    """An actor of Ray Data: numbers of batches in, their pictures out."""

    def __init__(self, artist: Artist, plan: Plan, look: Look, batch_size: int, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        if artist.config.train.threads:
            torch.set_num_threads(artist.config.train.threads)
        self._model, self._plan, self._look, self._batch_size = artist.model(), plan, look, batch_size

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
        made = []
        for number in batch["id"].tolist():
            first = number * self._batch_size
            items = self._plan.items(first, min(first + self._batch_size, len(self._plan)))
            drawings = self._model.draw((item.request for item in items), self._batch_size)
            made.append(pickle.dumps([self._look.picture(drawing) for drawing in drawings]))
        return {"pictures": made}
