from __future__ import annotations

import numpy as np
import pytest
import torch

import dmgan.torchvision_cpu  # noqa: F401  (before torch-fidelity)
from dmgan.metrics.fid import FeatureSums, frechet_distance
from dmgan.metrics.inception_score import InceptionSums
from dmgan.metrics.r_precision import FoldCounts, distractors, hits


def test_fid_is_torch_fidelitys_however_the_features_are_cut() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    torch.manual_seed(0)
    a, b = torch.randn(200, 12) @ torch.randn(12, 12), torch.randn(150, 12) + 0.3
    expected = fid_statistics_to_metric(fid_features_to_statistics(a), fid_features_to_statistics(b), verbose=False)
    whole = frechet_distance(FeatureSums.of(a), FeatureSums.of(b))
    parts = [FeatureSums.of(part) for part in a.split([50, 1, 149])]
    cut = frechet_distance(sum(parts[1:], parts[0]), FeatureSums.of(b))
    assert whole == pytest.approx(expected["frechet_inception_distance"], rel=1e-5)
    assert cut == pytest.approx(whole, rel=1e-10)


def test_the_distance_to_itself_is_zero() -> None:
    sums = FeatureSums.of(torch.randn(100, 6))
    assert frechet_distance(sums, sums) == pytest.approx(0, abs=1e-9)


def test_the_inception_score_is_torch_fidelitys_however_the_images_are_cut() -> None:
    from torch_fidelity.metric_isc import isc_features_to_metric

    torch.manual_seed(1)
    logits = torch.randn(100, 7) * 3
    expected = isc_features_to_metric(logits, splits=10, shuffle=False)
    split = np.arange(100) * 10 // 100
    whole = InceptionSums.of(logits, split, 10)
    cut = InceptionSums.of(logits[:33], split[:33], 10) + InceptionSums.of(logits[33:], split[33:], 10)
    for sums in (whole, cut):
        mean, std = sums.score()
        assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-6)
        assert std == pytest.approx(expected["inception_score_std"], rel=1e-6)


def test_r_precision_is_the_papers_brute_force() -> None:
    rng = np.random.default_rng(0)
    sentences = torch.randn(60, 8)
    classes = rng.integers(0, 5, 60)
    codes = sentences + 0.9 * torch.randn(60, 8)
    wrong = np.stack([distractors(k, int(classes[k]), classes, 20, seed=3) for k in range(60)])
    expected = []
    for k in range(60):
        assert len(set(wrong[k])) == 20 and (classes[wrong[k]] != classes[k]).all()
        candidates = torch.stack([sentences[k], *(sentences[i] for i in wrong[k])])
        scores = torch.nn.functional.cosine_similarity(codes[k][None], candidates)
        expected.append(int(scores.argmax()) == 0)
    found = hits(codes, sentences, sentences[torch.from_numpy(wrong)])
    assert found.tolist() == expected and 0 < found.sum() < 60
    fold = np.arange(60) * 10 // 60
    counts = FoldCounts.of(found[:17], fold[:17], 10) + FoldCounts.of(found[17:], fold[17:], 10)
    per_fold = found.reshape(10, 6).mean(1)
    assert counts.precision() == (pytest.approx(per_fold.mean()), pytest.approx(per_fold.std()))


def test_distractors_are_a_function_of_seed_and_image() -> None:
    classes = np.arange(50) % 5
    first = distractors(4, 0, classes, 10, seed=0)
    assert (first == distractors(4, 0, classes, 10, seed=0)).all()
    assert set(first) != set(distractors(5, 0, classes, 10, seed=0))
    with pytest.raises(ValueError, match="needs 99 captions of other classes, the split has 40"):
        distractors(0, 0, classes, 99, seed=0)
