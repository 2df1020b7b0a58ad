"""Ranking by rounded codes: as exact ones decide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.manifest import Manifest
from dmgan.config import ConfigError, load_config
from dmgan.evaluation.captions import UnseenCaptions
from dmgan.evaluation.evaluator import CaptionEncoder, Evaluator
from dmgan.evaluation.judges import Judge
from dmgan.evaluation.metrics import Ranked
from dmgan.evaluation.ranking import Ranking
from dmgan.evaluation.sums import PartSums
from dmgan.runs.run import Run

IMAGES, DIMENSIONS = 200, 16


class Rounding(Judge):
    """Whose quick codes are off by noise of this size; image k's pixels say k. Counts the images it codes exactly."""

    def __init__(self, sentences: Tensor, noise: float, rounds: bool) -> None:
        generator = torch.Generator().manual_seed(1)
        self._sentences, self.rounds, self.exactly = sentences, rounds, 0
        self._exact = sentences[:IMAGES] + 1.5 * torch.randn(IMAGES, DIMENSIONS, generator=generator)
        self._quick = self._exact + noise * torch.randn(IMAGES, DIMENSIONS, generator=generator)

    @property
    def dimensions(self) -> int:
        return DIMENSIONS

    def sentences(self, first: int, last: int) -> Tensor:
        return self._sentences[first:last]

    def codes(self, images: Tensor) -> Tensor:
        self.exactly += len(images)
        return self._exact[images[:, 0, 0, 0].long()]

    def quick_codes(self, images: Tensor) -> Tensor:
        return self._quick[images[:, 0, 0, 0].long()]


def ranked_by(packed: tuple[str, Manifest], noise: float, rounds: bool = True) -> tuple[Ranked, Rounding]:
    captions = UnseenCaptions(packed[0], seed=0)
    sentences = torch.randn(len(captions.distinct_texts), DIMENSIONS, generator=torch.Generator().manual_seed(0))
    judge = Rounding(sentences, noise, rounds)
    numbers = np.array([np.flatnonzero(captions.distinct == k)[0] for k in range(IMAGES)])  # image k's says text k
    images = torch.arange(IMAGES, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 1, 1)
    ranking = Ranking(captions, {"one": judge}, {"one": sentences}, 50, seed=0, batch_size=30)
    return ranking.ranked("one", judge.quick_codes(images), images, np.arange(IMAGES), numbers), judge


def test_exact_codes_decide_what_rounding_could_turn(packed: tuple[str, Manifest]) -> None:
    exact, never = ranked_by(packed, 0.0, rounds=False)
    assert never.exactly == 0 and 20 < exact.found.sum() < 180
    trusted, _ = ranked_by(packed, 0.08, rounds=False)
    assert (trusted.found != exact.found).any()  # else the next lines would say nothing
    counts = []
    for noise in (0.0001, 0.01, 0.08, 3.0):  # what is computed again goes with how coarse rounding is
        found, judge = ranked_by(packed, noise)
        assert (found.found == exact.found).all()
        np.testing.assert_allclose(found.matching, exact.matching, atol=0.5 * noise)
        counts.append(judge.exactly)
    assert 4 <= counts[0] < 10 < counts[1] < 100 < counts[2] <= counts[3] == IMAGES


def scored(untrained: tuple[Run, list[str]], *more: str) -> PartSums:
    run, settings = untrained
    small = ["evaluate.features=small", "evaluate.features_module=tests.small_extractor"]
    encoder = CaptionEncoder(load_config(None, [*settings, *small, *more]), run, torch.device("cpu"))
    return Evaluator(encoder, run.load_generator(), encoder.encode(0, encoder.distinct_captions)).score(0, 60)


def test_bfloat16_gives_the_scores_of_float32(untrained: tuple[Run, list[str]]) -> None:
    exact, found = scored(untrained), scored(untrained, "evaluate.encoder_precision=bfloat16")
    assert (found["r_precision"]["hits"] == exact["r_precision"]["hits"]).all()
    np.testing.assert_array_equal(found["fid"]["outer"], exact["fid"]["outer"])
    ours, theirs = found["r_precision"]["matching"], exact["r_precision"]["matching"]
    assert (ours != theirs).any()
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_codes_that_fid_is_on_are_exact() -> None:
    with pytest.raises(ConfigError, match=r"expected float32 with evaluate\.features=damsm"):
        load_config(None, ["data.url=x", "evaluate.features=damsm", "evaluate.encoder_precision=bfloat16"])
