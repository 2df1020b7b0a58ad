"""The actors that evaluate: each generates, extracts and reduces parts of the images; only sums travel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import ray
import torch
from ray.actor import ActorHandle
from ray.util import ActorPool, placement_group, remove_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from safetensors import SafetensorError

from cluster.placement import uses_gpus
from datasets import storage
from datasets.storage.environment import storage_environment
from datasets.storage.progress import progress_bar
from dmgan.allocator import keep_freed_memory
from dmgan.config import Config
from dmgan.evaluation.evaluator import CaptionEncoder, Evaluator
from dmgan.evaluation.metrics import Settings
from dmgan.evaluation.protocol import wanted_metrics
from dmgan.evaluation.sums import PartSums, added, from_bytes, to_bytes
from dmgan.model.generator import Generator
from dmgan.runs.run import Run

__all__ = ["Task", "Team", "tasks"]

_PARTS = 64  # at most, so as many workers have something to do


@dataclass(frozen=True)
class Task:
    """A part of the images to reduce to sums."""

    kind: str  # real or generated
    first: int
    last: int
    folder: str

    @property
    def file(self) -> str:
        return f"{self.folder}/{self.kind}-{self.first:08d}-{self.last:08d}.safetensors"


def tasks(kind: str, images: int, batch_size: int, folder: str) -> list[Task]:
    """The parts of so many images, of whole batches each: which batch an image is in does not depend on the workers."""
    size = -(-images // (_PARTS * batch_size)) * batch_size
    return [Task(kind, first, min(first + size, images), folder) for first in range(0, images, size)]


class _Worker:
    """`generator` is a list of the reference to it, which the team holds: Ray may lose what a constructor was given
    before it starts an actor again."""

    def __init__(self, config: Config, run: Run, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        torch.backends.cudnn.allow_tf32 = False  # float32, as the protocol says
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        keep_freed_memory()
        self._run, self._encoder = run, CaptionEncoder(config, run, device)
        self._evaluator: Evaluator | None = None

    def feature_dimensions(self) -> int:
        return self._encoder.feature_dimensions()

    def distinct_captions(self) -> int:
        return self._encoder.distinct_captions

    def encode(self, first: int, last: int) -> np.ndarray:
        return self._encoder.encode(first, last).cpu().numpy()

    def _ready(self, generator: list[ray.ObjectRef[Generator]], sentences: np.ndarray) -> Evaluator:
        if self._evaluator is None:  # also of a worker that was started again
            self._evaluator = Evaluator(self._encoder, ray.get(generator[0]), torch.from_numpy(sentences.copy()))
        return self._evaluator

    def part(
        self, generator: list[ray.ObjectRef[Generator]], task: Task, sentences: np.ndarray, save_images: str | None
    ) -> tuple[Task, PartSums]:
        evaluator = self._ready(generator, sentences)
        if task.kind == "real":
            sums = evaluator.real(task.first, task.last)
        else:
            sums = evaluator.score(task.first, task.last, save_images)
        storage.write_bytes(self._run.path(task.file), to_bytes(sums))
        return task, sums

    def images(
        self, generator: list[ray.ObjectRef[Generator]], indices: list[int], sentences: np.ndarray
    ) -> np.ndarray:
        return self._ready(generator, sentences).images(indices).permute(0, 2, 3, 1).cpu().numpy()


class Team:
    """The actors, started when there is something to do for them."""

    def __init__(
        self, config: Config, run: Run, generator: Generator, settings: Settings, save_images: str | None
    ) -> None:
        self._config, self._run, self._generator, self._save = config, run, generator, save_images
        self._settings, self.metrics = settings, wanted_metrics(settings)
        self._actors: list[ActorHandle] = []
        self._sentences: ray.ObjectRef[np.ndarray] | None = None
        self._shared: list[ray.ObjectRef[Generator]] = []
        self._places: PlacementGroup | None = None

    def _start(self) -> None:
        if self._actors:
            return
        config, there = self._config, ray.cluster_resources()
        gpu = int(uses_gpus(config))
        # As many as there can be: an elastic cluster may hold fewer than training wants, and the scores are the same.
        workers = max(1, min(config.train.workers, int(there.get("GPU" if gpu else "CPU", 0))))
        # All places at once: trials of a sweep that each held half of what they need would wait for ever.
        self._places = placement_group([{"CPU": 1, "GPU": gpu} if gpu else {"CPU": 1}] * workers, strategy="PACK")
        ray.get(self._places.ready())
        where = PlacementGroupSchedulingStrategy(self._places)
        # A worker that is lost starts again and repeats its part.
        kind = ray.remote(num_cpus=1, num_gpus=gpu, max_restarts=3, max_task_retries=3, scheduling_strategy=where)(
            _Worker
        )
        self._shared = [ray.put(self._generator)]
        self._actors = [kind.remote(config, self._run, storage_environment()) for _ in range(workers)]
        # Each encodes a share of the captions, all score with the whole.
        captions = ray.get(self._actors[0].distinct_captions.remote())
        cuts = [captions * i // workers for i in range(workers + 1)]
        shares = [actor.encode.remote(cuts[i], cuts[i + 1]) for i, actor in enumerate(self._actors)]
        self._sentences = ray.put(np.concatenate(ray.get(shares)))

    def total(self, wanted: list[Task]) -> PartSums:
        """The sum of all tasks' parts."""
        parts = self._sums(wanted)
        whole = next(parts)
        for part in parts:
            whole = added(whole, part, self._settings)
        return whole

    def _sums(self, wanted: list[Task]) -> Iterator[PartSums]:
        """Of all tasks in order, so that the float64 sums do not depend on who finished first."""
        folder = wanted[0].folder
        there = set(storage.list_sizes(self._run.path(folder))) if self._run.has(folder) else set()
        left = [task for task in wanted if task.file.rsplit("/", 1)[-1] not in there]
        if left:
            self._start()
        if len(left) < len(wanted):
            print(f"      going on: {len(wanted) - len(left)} of {len(wanted)} parts are there", flush=True)
        pool, early = ActorPool(self._actors), dict[Task, PartSums]()
        # Whoever is free takes the next part; those that come before their turn wait.
        fresh = pool.map_unordered(
            lambda actor, task: actor.part.remote(self._shared, task, self._sentences, self._save), left
        )
        waiting = set(left)
        with progress_bar(total=wanted[-1].last, desc=wanted[0].kind, unit="image") as bar:
            for task in wanted:
                while task in waiting and task not in early:
                    made, sums = next(fresh)
                    early[made] = sums
                part = early.pop(task) if task in waiting else self._read_or_new(task)
                yield part
                bar.update(task.last - task.first)

    def sums_at(self, url: str) -> PartSums | None:
        """Sums that were written there; None where there are none, or damaged ones: they are computed again."""
        try:
            return from_bytes(storage.read_bytes(url), self._settings)
        except (storage.MissingError, SafetensorError, ValueError, KeyError):
            return None

    def _read_or_new(self, task: Task) -> PartSums:
        if (sums := self.sums_at(self._run.path(task.file))) is not None:
            return sums
        self._start()
        made: tuple[Task, PartSums] = ray.get(
            self._actors[0].part.remote(self._shared, task, self._sentences, self._save)
        )
        return made[1]

    def feature_dimensions(self) -> int:
        self._start()
        return int(ray.get(self._actors[0].feature_dimensions.remote()))

    def images(self, indices: list[int]) -> np.ndarray:
        """Generated images: uint8 (N, H, W, 3)."""
        self._start()
        found: np.ndarray = ray.get(self._actors[0].images.remote(self._shared, indices, self._sentences))
        return found

    def dismiss(self) -> None:
        for actor in self._actors:
            ray.kill(actor)
        if self._places is not None:
            remove_placement_group(self._places)
