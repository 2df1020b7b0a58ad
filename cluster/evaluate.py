"""The evaluation on a Ray cluster: actors generate, extract and reduce; only sums travel."""

from __future__ import annotations

import os
import time
from typing import Any

import ray
import torch
from ray.util import ActorPool
from tqdm import tqdm

from cluster.train import storage_environment
from dmgan.config import Config
from dmgan.evaluation import SPLIT, Evaluator, Sums, scores
from dmgan.metrics.fid import FeatureSums
from dmgan.run import Run

__all__ = ["evaluate"]


class _Worker:
    def __init__(self, config: Config, run: Run, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._evaluator = Evaluator(config, run, device)

    def score(self, first: int, last: int) -> Sums:
        return self._evaluator.score(first, last)

    def real(self, rank: int, world_size: int) -> FeatureSums:
        return self._evaluator.real(rank, world_size)


def evaluate(config: Config, run: Run) -> dict[str, Any]:
    """Score the run's generator on unseen captions, write RUN/evaluation.json and return it."""
    started = time.monotonic()
    options, workers = config.evaluate, config.train.workers
    gpu = 1 if ray.cluster_resources().get("GPU", 0) >= workers else 0
    # A worker that is lost starts again and repeats its part: what a part gives depends on its range alone.
    kind = ray.remote(num_cpus=1, num_gpus=gpu, max_restarts=3, max_task_retries=3)(_Worker)
    actors = [kind.remote(config, run, storage_environment()) for _ in range(workers)]
    pool = ActorPool(actors)
    real_parts = ray.get([actor.real.remote(rank, workers) for rank, actor in enumerate(actors)])
    real = sum(real_parts[1:], real_parts[0])
    ranges = [(i, min(i + options.batch_size, options.images)) for i in range(0, options.images, options.batch_size)]
    parts: list[Sums] = []
    with tqdm(total=options.images, desc="evaluate", unit="image", dynamic_ncols=True) as bar:
        # In order, so that the float64 sums do not depend on who finished first.
        for part in pool.map(lambda actor, r: actor.score.remote(*r), ranges):
            parts.append(part)
            bar.update(part.features.n)
    for actor in actors:
        ray.kill(actor)
    result = scores(config, sum(parts[1:], parts[0]), real)
    result |= {
        "real_images": real.n,
        "captions": f"unseen captions of the {SPLIT} split",
        "distractors": options.distractors,
        "folds": options.folds,
        "seed": options.seed,
        "weights": "ema",
        "step": run.trained_steps(),
        "seconds": round(time.monotonic() - started, 1),
    }
    run.write_json("evaluation.json", result)
    return result
