from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.manifest import Manifest, load_manifest
from dmgan.config import ConfigError, load_config
from dmgan.evaluation import Evaluator, Sums, scores
from dmgan.networks import build_encoders, build_generator
from dmgan.run import Run

SETTINGS = [
    "model.word_dim=16",
    "model.image_dim=4",
    "model.memory_dim=8",
    "model.condition_dim=8",
    "model.noise_dim=8",
    "evaluate.images=40",
    "evaluate.folds=4",
]


@pytest.fixture(scope="module")
def untrained(packed: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    """A run with random weights."""
    torch.manual_seed(0)
    run = Run(str(tmp_path_factory.mktemp("run")))
    settings = [*SETTINGS, f"data.url={packed[0]}"]
    config = load_config(None, settings)
    vocabulary = load_manifest(packed[0])[1]
    run.save_encoders(build_encoders(config.model, len(vocabulary)), vocabulary)
    run.save_generator(build_generator(config.model), config, step=3, steps=3)
    return run, settings


def evaluator(untrained: tuple[Run, list[str]], *more: str) -> Evaluator:
    run, settings = untrained
    return Evaluator(load_config(None, [*settings, *more]), run, torch.device("cpu"))


def assert_same(a: Sums, b: Sums) -> None:
    np.testing.assert_allclose(a.features.total, b.features.total, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(a.features.outer, b.features.outer, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a.inception.total, b.inception.total, rtol=1e-6)
    assert (a.r_precision.hits == b.r_precision.hits).all() and (a.r_precision.n == b.r_precision.n).all()
    assert (a.colour == b.colour).all()


def test_the_scores_do_not_depend_on_how_the_images_are_cut(untrained: tuple[Run, list[str]]) -> None:
    whole = evaluator(untrained).score(0, 40)
    worker = evaluator(untrained, "evaluate.batch_size=3")
    assert_same(whole, worker.score(0, 5) + worker.score(5, 31) + worker.score(31, 40))
    real = worker.real(0, 1)
    parts = [worker.real(rank, 3) for rank in range(3)]
    together = parts[0] + parts[1] + parts[2]
    assert together.n == real.n == 30
    np.testing.assert_allclose(together.outer, real.outer, rtol=1e-6, atol=1e-6)
    result = scores(worker.config, whole, real)
    assert result["images"] == 40 and result["features"] == "damsm" and result["fid"] > 0
    assert whole.colour[0] == 40 and (whole.r_precision.n == 10).all()


def test_noise_captions_and_distractors_are_functions_of_the_seed(untrained: tuple[Run, list[str]]) -> None:
    first, other = evaluator(untrained).score(0, 10), evaluator(untrained, "evaluate.seed=1").score(0, 10)
    assert_same(first, evaluator(untrained).score(0, 10))
    assert not np.allclose(first.features.total, other.features.total)


def test_a_run_without_weights_says_what_to_do(tmp_path: Path, packed: tuple[str, Manifest]) -> None:
    config = load_config(None, [*SETTINGS, f"data.url={packed[0]}"])
    with pytest.raises(ConfigError, match=r"generator.json: not found; run `python -m dmgan.launch train` first"):
        Evaluator(config, Run(str(tmp_path)), torch.device("cpu"))
