from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from datasets.manifest import Manifest
from datasets.packing.pack import PackOptions, pack
from datasets.sources import cub
from dmgan.config import ConfigError, load_config
from dmgan.evaluation.captions import UnseenCaptions
from dmgan.evaluation.evaluator import CaptionEncoder, Evaluator
from dmgan.evaluation.protocol import describe, fewer_distractors
from dmgan.evaluation.sums import PartSums, added, from_bytes, scores, to_bytes
from dmgan.runs.run import Run
from tests.conftest import write_small_cub


def evaluator(untrained: tuple[Run, list[str]], *more: str) -> Evaluator:
    """One whose captions were encoded in two parts."""
    run, settings = untrained
    encoder = CaptionEncoder(load_config(None, [*settings, *more]), run, torch.device("cpu"))
    sentences = torch.cat([encoder.encode(0, 5), encoder.encode(5, encoder.distinct_captions)])
    return Evaluator(encoder, run.load_generator(), sentences)


def whole_of(made: Evaluator, *parts: PartSums) -> PartSums:
    total = parts[0]
    for part in parts[1:]:
        total = added(total, part, made.settings)
    return total


def assert_same(a: PartSums, b: PartSums) -> None:
    np.testing.assert_allclose(a["fid"]["total"], b["fid"]["total"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(a["fid"]["outer"], b["fid"]["outer"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a["inception_score"]["total"], b["inception_score"]["total"], rtol=1e-6)
    for name in ("hits", "n"):
        assert (a["r_precision"][name] == b["r_precision"][name]).all()
    assert all((a["colour_accuracy"][name] == b["colour_accuracy"][name]).all() for name in ("named", "hits"))
    np.testing.assert_allclose(a["r_precision"]["matching"], b["r_precision"]["matching"], rtol=1e-4, atol=1e-5)


def test_the_scores_do_not_depend_on_how_the_images_are_cut(untrained: tuple[Run, list[str]]) -> None:
    whole = evaluator(untrained).score(0, 40)
    worker = evaluator(untrained, "evaluate.batch_size=3")
    assert_same(whole, whole_of(worker, worker.score(0, 5), worker.score(5, 31), worker.score(31, 40)))
    real = worker.real(0, 30)
    together = whole_of(worker, worker.real(0, 1), worker.real(1, 22), worker.real(22, 30))
    assert together["fid"]["n"] == real["fid"]["n"] == 30
    np.testing.assert_allclose(together["fid"]["outer"], real["fid"]["outer"], rtol=1e-6, atol=1e-6)
    found = scores(whole, real, worker.settings)
    assert isinstance(found["fid"], float) and found["fid"] > 0
    assert whole["colour_accuracy"]["named"] == 40 and (whole["r_precision"]["n"] == 10).all()


def test_noise_captions_and_distractors_are_functions_of_the_seed(untrained: tuple[Run, list[str]]) -> None:
    first, other = evaluator(untrained).score(0, 10), evaluator(untrained, "evaluate.seed=1").score(0, 10)
    assert_same(first, evaluator(untrained).score(0, 10))
    assert not np.allclose(first["fid"]["total"], other["fid"]["total"])


def test_sums_are_written_and_read(untrained: tuple[Run, list[str]]) -> None:
    made = evaluator(untrained, "evaluate.kid=true")
    whole, real = made.score(0, 20), made.real(0, 30)
    assert whole["gathered"]["features"].shape == (20, 16)
    again = from_bytes(to_bytes(whole), made.settings), from_bytes(to_bytes(real), made.settings)
    assert scores(*again, made.settings) == scores(whole, real, made.settings)
    assert_same(again[0], whole)
    with pytest.raises((ValueError, SafetensorError)):
        from_bytes(to_bytes(real)[:100], made.settings)


def test_a_small_test_split_has_fewer_distractors_and_says_so(untrained: tuple[Run, list[str]], tmp_path: Path) -> None:
    write_small_cub(tmp_path / "cub", train=3, test=2, images=1)  # ten captions of each of two test classes
    url = str(tmp_path / "packed")
    pack(cub.read(tmp_path / "cub", "two"), url, PackOptions(resolution=64, processes=1), progress=False)
    there = UnseenCaptions(url, seed=0).distractors
    made = evaluator(untrained, f"data.url={url}")
    assert 0 < there <= 10 and made.settings.numbers.distractors == there
    assert made.score(0, 8)["r_precision"]["found"].shape == (8,)
    protocol = describe(made.config, made.settings, {}, {}, "c", "e")
    assert protocol["r_precision"] == {"r": 1, "distractors": there, "folds": 4}
    assert f"distractors {there}, not 99" in str(protocol["departures"]) and protocol["name"] == "quick, changed"
    assert fewer_distractors(made.settings) == [
        f"R-precision is against {there} mismatching captions an image, all that the test split has, not 99: "
        f"chance is {100 / (there + 1):.1f} %, not 1.0 %"
    ]
    assert fewer_distractors(evaluator(untrained).settings) == []
    asked = evaluator(untrained, f"data.url={url}", "evaluate.distractors=5").settings
    assert asked.numbers.distractors == 5 and fewer_distractors(asked) == []


def test_a_run_without_weights_says_what_to_do(tmp_path: Path, packed: tuple[str, Manifest]) -> None:
    with pytest.raises(ConfigError, match=r"generator.json: not found; run `python -m dmgan.launch train` first"):
        Run(str(tmp_path)).load_generator()
