"""The evaluation on a Ray cluster: actors generate, extract and reduce; only sums travel.

Parts of the images are the unit of work. What a part gives depends on its range alone; it is kept in the run's folder
as soon as it is there, so a worker or a driver that is killed costs the parts it was at.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import ray
import safetensors.torch
import torch
from ray.util import ActorPool, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from safetensors import SafetensorError

from cluster.placement import uses_gpus
from cluster.worker.checkpoints import Checkpoints
from datasets import storage
from datasets.manifest import Manifest, load_manifest
from datasets.storage.environment import storage_environment
from datasets.storage.progress import progress_bar
from dmgan.architectures import build_generator
from dmgan.config import Config, ConfigError
from dmgan.evaluation.evaluator import CaptionEncoder, Evaluator, UnseenCaptions
from dmgan.evaluation.features import describe_extractor
from dmgan.evaluation.metrics import Settings, Sums
from dmgan.evaluation.metrics.fid import read_moments
from dmgan.evaluation.protocol import SPLIT, checksum, describe, settings, wanted_metrics
from dmgan.evaluation.record import Evaluation, read_evaluation
from dmgan.evaluation.sums import PartSums, added, from_bytes, scores, to_bytes
from dmgan.model.generator import Generator
from dmgan.pixels import png
from dmgan.runs.run import Run
from dmgan.training.engine import EngineState

__all__ = ["Candidate", "candidate", "checksum_of", "evaluate", "existing", "steps_of", "write_evaluation"]

_PARTS = 64  # at most, so as many workers have something to do
_SHOWN = 8  # images of the best and of the worst match
_CLASSES = 1000  # with more of them a list by class says nothing


@dataclass(frozen=True)
class Candidate:
    """A generator to score and where it comes from."""

    generator: Generator
    step: int
    weights: str  # ema or raw

    @property
    def name(self) -> str:
        return f"step_{self.step:08d}-{self.weights}"

    @cached_property
    def sha256(self) -> str:
        tensors = {key: tensor.contiguous() for key, tensor in self.generator.state_dict().items()}
        return hashlib.sha256(safetensors.torch.save(tensors)).hexdigest()


def steps_of(run: Run) -> list[int]:
    """The steps of the run's complete GAN checkpoints, rising."""
    return sorted(state["step"] for _, state in Checkpoints(run).states("train"))


def candidate(config: Config, run: Run, step: int | None = None) -> Candidate:
    """The run's generator, or the one of its checkpoint at `step`; `evaluate.weights` says which of its weights.

    Raises ConfigError where there is no such checkpoint, StorageError where it is damaged.
    """
    weights, trained = config.evaluate.weights, run.trained_steps()
    if weights == "ema" and step in (None, trained):
        return Candidate(run.load_generator(), trained, weights)
    checkpoints, wanted = Checkpoints(run), trained if step is None else step
    found = next((pair for pair in checkpoints.states("train") if pair[1]["step"] == wanted), None)
    if found is None:
        there = ", ".join(map(str, steps_of(run))) or "none"
        raise ConfigError(f"{run.path('checkpoints')}: no checkpoint of step {wanted}; there are: {there}")
    name, state = found
    if weights == "ema":
        tensors = safetensors.torch.load(checkpoints.read(name, "average.safetensors", state))
    else:
        tensors = EngineState.from_bytes(checkpoints.read(name, "generator.safetensors", state)).weights
    generator = build_generator(run.read_config().model)
    generator.load_state_dict(tensors)
    return Candidate(generator.eval().requires_grad_(False), wanted, weights)


def existing(config: Config, run: Run, chosen: Candidate) -> Evaluation | None:
    """The evaluation that is there of these very weights with these settings, if there is one."""
    found = read_evaluation(run, f"evaluations/{chosen.name}.json")
    return found if found is not None and found.checksum == checksum_of(config, run, chosen) else None


def checksum_of(config: Config, run: Run, chosen: Candidate) -> str:
    """Of all that an evaluation's scores depend on."""
    return checksum(config, _encoders_sha256(run), chosen.sha256)


def _encoders_sha256(run: Run) -> str:
    return hashlib.sha256(storage.read_bytes(run.path("encoders.safetensors"))).hexdigest()


class _Worker:
    """`held` is a list of the reference to the generator, which the team holds: Ray may lose what a constructor was
    given before it starts an actor again."""

    def __init__(self, config: Config, run: Run, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        torch.backends.cudnn.allow_tf32 = False  # float32, as the protocol says
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._run, self._encoder = run, CaptionEncoder(config, run, device)
        self._evaluator: Evaluator | None = None

    def feature_dimensions(self) -> int:
        return self._encoder.feature_dimensions()

    def distinct_captions(self) -> int:
        return self._encoder.distinct_captions

    def encode(self, first: int, last: int) -> np.ndarray:
        return self._encoder.encode(first, last).cpu().numpy()

    def _ready(self, held: list[Any], sentences: np.ndarray) -> Evaluator:
        if self._evaluator is None:  # also of a worker that was started again
            self._evaluator = Evaluator(self._encoder, ray.get(held[0]), torch.from_numpy(sentences.copy()))
        return self._evaluator

    def part(
        self, held: list[Any], task: _Task, sentences: np.ndarray, save_images: str | None
    ) -> tuple[_Task, PartSums]:
        evaluator = self._ready(held, sentences)
        if task.kind == "real":
            sums = evaluator.real(task.first, task.last)
        else:
            sums = evaluator.score(task.first, task.last, save_images)
        storage.write_bytes(self._run.path(task.file), to_bytes(sums))
        return task, sums

    def images(self, held: list[Any], indices: list[int], sentences: np.ndarray) -> np.ndarray:
        return self._ready(held, sentences).images(indices).permute(0, 2, 3, 1).cpu().numpy()


@dataclass(frozen=True)
class _Task:
    kind: str  # real or generated
    first: int
    last: int
    folder: str

    @property
    def file(self) -> str:
        return f"{self.folder}/{self.kind}-{self.first:08d}-{self.last:08d}.safetensors"


def evaluate(config: Config, run: Run, chosen: Candidate | None = None, save_images: str | None = None) -> Evaluation:
    """Score a generator on unseen captions; returns what it writes to RUN/evaluations/ and, of the run's own, to
    RUN/evaluation.json.

    Goes on from the parts that an evaluation of the same weights and protocol left. `save_images` is a folder or
    bucket that gets every generated image.
    """
    started = time.monotonic()
    chosen = chosen or candidate(config, run)
    manifest, _ = load_manifest(config.data.url)
    whole = settings(config, manifest.name)
    about, same = _protocol(config, run, manifest, whole), checksum_of(config, run, chosen)
    folder = f"evaluations/parts-{_hash([same, save_images])}"
    team = _Team(config, run, chosen.generator, whole, save_images)
    try:
        real = _real(config, run, manifest, about, team, folder)
        generated = team.total(_tasks("generated", whole.numbers.images, config.evaluate.batch_size, folder))
        values = scores(generated, real, whole)
        captions = UnseenCaptions(config.data.url, config.evaluate.seed)
        extremes = _extremes(run, chosen, generated["r_precision"], captions, team)
    finally:
        team.dismiss()
    result = Evaluation.model_validate(
        {
            **values,
            "images": whole.numbers.images,
            "features": config.evaluate.features,
            "step": chosen.step,
            "weights": chosen.weights,
            "generator_sha256": chosen.sha256,
            "checksum": same,
            "data": config.data.url,
            **extremes,
            "r_precision_by_class": _by_class(generated["r_precision"], captions),
            "protocol": about,
            "seconds": round(time.monotonic() - started, 1),
        }
    )
    write_evaluation(run, result)
    storage.remove_folder(run.path(folder))
    return result


def write_evaluation(run: Run, result: Evaluation) -> None:
    """Into RUN/evaluations/, and into RUN/evaluation.json where it is of the run's own generator."""
    run.write_json(f"evaluations/{result.name}.json", result.model_dump())
    if result.step == run.trained_steps():
        run.write_json("evaluation.json", result.model_dump())


def _protocol(config: Config, run: Run, manifest: Manifest, whole: Settings) -> dict[str, Any]:
    encoders = _encoders_sha256(run)
    part, given = manifest.split(SPLIT), config.evaluate.real_statistics
    if given is not None:
        real: dict[str, Any] = {"statistics": given, "sha256": hashlib.sha256(storage.read_bytes(given)).hexdigest()}
    else:
        real = {"split": SPLIT, "images": part.samples, "sha256": _hash(asdict(part), 64)}
    extractor = describe_extractor(config.evaluate, encoders, config.objective.gamma3)
    return describe(config, whole, extractor, real, part.captions_sha256, encoders)


def _real(config: Config, run: Run, manifest: Manifest, about: dict[str, Any], team: _Team, folder: str) -> PartSums:
    """From the file that is given, else from the cache beside the runs, else of the split's images."""
    options = config.evaluate
    if options.real_statistics is not None:
        moments = read_moments(options.real_statistics)
        moments.check(team.feature_dimensions(), f"evaluate.real_statistics={options.real_statistics}")
        return {"fid": moments.to_sums()}
    key = _hash([about[name] for name in ("real", "pixels", "extractor", "dtype")] + [sorted(team.metrics)])
    cached = storage.join(run.url.rstrip("/").rpartition("/")[0], ".real-statistics", f"{key}.safetensors")
    if (sums := team.kept(cached)) is None:
        sums = team.total(_tasks("real", manifest.split(SPLIT).samples, options.batch_size, folder))
        storage.write_bytes(cached, to_bytes(sums))
    return sums


def _tasks(kind: str, images: int, batch_size: int, folder: str) -> list[_Task]:
    """Whole batches each: which batch an image is in does not depend on the workers."""
    size = -(-images // (_PARTS * batch_size)) * batch_size
    return [_Task(kind, first, min(first + size, images), folder) for first in range(0, images, size)]


class _Team:
    """The actors, started when there is something to do for them."""

    def __init__(
        self, config: Config, run: Run, generator: Generator, settings: Settings, save_images: str | None
    ) -> None:
        self._config, self._run, self._generator, self._save = config, run, generator, save_images
        self._settings, self.metrics = settings, wanted_metrics(settings)
        self._actors: list[Any] = []
        self._sentences: Any = None
        self._held: list[Any] = []
        self._places: Any = None

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
        self._held = [ray.put(self._generator)]
        self._actors = [kind.remote(config, self._run, storage_environment()) for _ in range(workers)]
        # Each encodes a share of the captions, all score with the whole.
        captions = ray.get(self._actors[0].distinct_captions.remote())
        cuts = [captions * i // workers for i in range(workers + 1)]
        shares = [actor.encode.remote(cuts[i], cuts[i + 1]) for i, actor in enumerate(self._actors)]
        self._sentences = ray.put(np.concatenate(ray.get(shares)))

    def total(self, tasks: list[_Task]) -> PartSums:
        """The sum of all tasks' parts."""
        parts = self._sums(tasks)
        whole = next(parts)
        for part in parts:
            whole = added(whole, part, self._settings)
        return whole

    def _sums(self, tasks: list[_Task]) -> Iterator[PartSums]:
        """Of all tasks in order, so that the float64 sums do not depend on who finished first."""
        folder = tasks[0].folder
        there = set(storage.list_sizes(self._run.path(folder))) if self._run.has(folder) else set()
        left = [task for task in tasks if task.file.rsplit("/", 1)[-1] not in there]
        if left:
            self._start()
        if len(left) < len(tasks):
            print(f"      going on: {len(tasks) - len(left)} of {len(tasks)} parts are there", flush=True)
        pool, early = ActorPool(self._actors), dict[_Task, PartSums]()
        # Whoever is free takes the next part; those that come before their turn wait.
        fresh = pool.map_unordered(
            lambda actor, task: actor.part.remote(self._held, task, self._sentences, self._save), left
        )
        waiting = set(left)
        with progress_bar(total=tasks[-1].last, desc=tasks[0].kind, unit="image") as bar:
            for task in tasks:
                while task in waiting and task not in early:
                    made, sums = next(fresh)
                    early[made] = sums
                part = early.pop(task) if task in waiting else self._kept_or_new(task)
                yield part
                bar.update(task.last - task.first)

    def kept(self, url: str) -> PartSums | None:
        """Sums that were written there; None where there are none, or damaged ones: they are computed again."""
        try:
            return from_bytes(storage.read_bytes(url), self._settings)
        except (storage.MissingError, SafetensorError, ValueError, KeyError):
            return None

    def _kept_or_new(self, task: _Task) -> PartSums:
        if (sums := self.kept(self._run.path(task.file))) is not None:
            return sums
        self._start()
        made: tuple[_Task, PartSums] = ray.get(
            self._actors[0].part.remote(self._held, task, self._sentences, self._save)
        )
        return made[1]

    def feature_dimensions(self) -> int:
        self._start()
        return int(ray.get(self._actors[0].feature_dimensions.remote()))

    def images(self, indices: list[int]) -> np.ndarray:
        """Generated images: uint8 (N, H, W, 3)."""
        self._start()
        found: np.ndarray = ray.get(self._actors[0].images.remote(self._held, indices, self._sentences))
        return found

    def dismiss(self) -> None:
        for actor in self._actors:
            ray.kill(actor)
        if self._places is not None:
            remove_placement_group(self._places)


def _extremes(
    run: Run, chosen: Candidate, found: Sums, captions: UnseenCaptions, team: _Team
) -> dict[str, list[dict[str, Any]]]:
    """The images that match their captions best and worst, with a picture: the best above, the worst below."""
    order = np.argsort(-found["matching"], kind="stable")
    rows = {"best": order[:_SHOWN].tolist(), "worst": order[::-1][:_SHOWN].tolist()}
    images = team.images([*rows["best"], *rows["worst"]])
    both = np.concatenate([np.concatenate(list(half), axis=1) for half in np.split(images, 2)], axis=0)
    location = run.path("evaluations", f"{chosen.name}.png")
    storage.write_bytes(location, png(both))
    return {
        name: [
            {"image": k, "caption": captions.texts[c], "score": round(float(found["matching"][k]), 4)}
            for k, c in zip(indices, captions.of(indices).tolist(), strict=True)
        ]
        for name, indices in rows.items()
    }


def _by_class(found: Sums, captions: UnseenCaptions) -> list[dict[str, Any]]:
    """R-precision of every class, the worst first; nothing where nearly every image is of its own."""
    classes = captions.classes[captions.of(np.arange(len(found["found"])))]
    present = np.unique(classes)
    if len(present) > min(_CLASSES, len(classes) // 2):
        return []
    hits_of = [(int(c), found["found"][classes == c]) for c in present]
    rows = [
        {"class_name": captions.class_names[c], "images": len(hits), "r_precision": round(float(hits.mean()), 4)}
        for c, hits in hits_of
    ]
    return sorted(rows, key=lambda row: (row["r_precision"], row["class_name"]))


def _hash(value: Any, length: int = 16) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:length]
