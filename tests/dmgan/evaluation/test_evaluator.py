from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from datasets.manifest import Manifest
from dmgan.config import ConfigError, load_config
from dmgan.evaluation.evaluator import Evaluator, GeneratedSums, RealSums, UnseenCaptions, from_bytes, scores, to_bytes
from dmgan.runs.run import Run


def evaluator(untrained: tuple[Run, list[str]], *more: str) -> Evaluator:
    """One that has encoded the captions."""
    run, settings = untrained
    made = Evaluator(load_config(None, [*settings, *more]), run, run.load_generator(), torch.device("cpu"))
    made.use(torch.cat([made.encode(0, 5), made.encode(5, made.distinct_captions)]))
    return made


def assert_same(a: GeneratedSums, b: GeneratedSums) -> None:
    np.testing.assert_allclose(a.features.total, b.features.total, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(a.features.outer, b.features.outer, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a.inception.total, b.inception.total, rtol=1e-6)
    assert (a.r_precision.hits == b.r_precision.hits).all() and (a.r_precision.n == b.r_precision.n).all()
    assert (a.colour == b.colour).all()
    np.testing.assert_allclose(a.matching, b.matching, rtol=1e-4, atol=1e-5)


def test_the_scores_do_not_depend_on_how_the_images_are_cut(untrained: tuple[Run, list[str]]) -> None:
    whole = evaluator(untrained).score(0, 40)
    worker = evaluator(untrained, "evaluate.batch_size=3")
    assert_same(whole, worker.score(0, 5) + worker.score(5, 31) + worker.score(31, 40))
    real = worker.real(0, 30)
    together = worker.real(0, 1) + worker.real(1, 22) + worker.real(22, 30)
    assert together.features.n == real.features.n == 30
    np.testing.assert_allclose(together.features.outer, real.features.outer, rtol=1e-6, atol=1e-6)
    assert scores(worker.config, whole, real)["fid"] > 0
    assert whole.colour[0] == 40 and (whole.r_precision.n == 10).all()


def test_noise_captions_and_distractors_are_functions_of_the_seed(untrained: tuple[Run, list[str]]) -> None:
    first, other = evaluator(untrained).score(0, 10), evaluator(untrained, "evaluate.seed=1").score(0, 10)
    assert_same(first, evaluator(untrained).score(0, 10))
    assert not np.allclose(first.features.total, other.features.total)


def test_sums_are_written_and_read(untrained: tuple[Run, list[str]]) -> None:
    made = evaluator(untrained, "evaluate.kid=true")
    whole, real = made.score(0, 20), made.real(0, 30)
    assert whole.gathered.shape == (20, 16)
    again = from_bytes(GeneratedSums, to_bytes(whole)), from_bytes(RealSums, to_bytes(real))
    assert scores(made.config, *again) == scores(made.config, whole, real)
    assert_same(again[0], whole)
    with pytest.raises((ValueError, SafetensorError)):
        from_bytes(RealSums, to_bytes(real)[:100])


def test_every_caption_once_before_any_twice(packed: tuple[str, Manifest]) -> None:
    captions = UnseenCaptions(packed[0], seed=0)
    assert len(captions.texts) == 300 and sorted(captions.of(range(300, 600))) == list(range(300))
    assert set(captions.class_names.values()) != {""}


def test_a_run_without_weights_says_what_to_do(tmp_path: Path, packed: tuple[str, Manifest]) -> None:
    with pytest.raises(ConfigError, match=r"generator.json: not found; run `python -m dmgan.launch train` first"):
        Run(str(tmp_path)).load_generator()
