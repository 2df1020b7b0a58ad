from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import dmgan.model.torchvision_cpu  # noqa: F401  (before torch-fidelity)
from datasets.storage import StorageError
from dmgan.evaluation.metrics.fid import FeatureSums, Moments, frechet_distance, read_moments
from dmgan.evaluation.metrics.folds import fold_of
from dmgan.evaluation.metrics.inception_score import InceptionSums
from dmgan.evaluation.metrics.r_precision import Distractors, FoldCounts, available_distractors, matching_scores


def test_fid_is_torch_fidelitys_however_the_features_are_cut() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    torch.manual_seed(0)
    a, b = torch.randn(200, 12) @ torch.randn(12, 12), torch.randn(150, 12) + 0.3
    expected = fid_statistics_to_metric(fid_features_to_statistics(a), fid_features_to_statistics(b), verbose=False)
    whole = frechet_distance(FeatureSums.of(a).moments(), FeatureSums.of(b).moments())
    parts = [FeatureSums.of(part) for part in a.split([50, 1, 149])]
    cut = frechet_distance(sum(parts[1:], parts[0]).moments(), FeatureSums.of(b).moments())
    assert whole == pytest.approx(expected["frechet_inception_distance"], rel=1e-5)
    assert cut == pytest.approx(whole, rel=1e-10)


def test_the_distance_to_itself_is_zero() -> None:
    moments = FeatureSums.of(torch.randn(100, 6)).moments()
    assert frechet_distance(moments, moments) == pytest.approx(0, abs=1e-9)


def test_the_inception_score_is_torch_fidelitys_however_the_images_are_cut() -> None:
    from torch_fidelity.metric_isc import isc_features_to_metric

    torch.manual_seed(1)
    logits = torch.randn(103, 7) * 3  # not a multiple of the splits
    expected = isc_features_to_metric(logits, splits=10, shuffle=False)
    split = fold_of(np.arange(103), 103, 10)
    whole = InceptionSums.of(logits, split, 10)
    cut = InceptionSums.of(logits[:33], split[:33], 10) + InceptionSums.of(logits[33:], split[33:], 10)
    for sums in (whole, cut):
        mean, std = sums.score()
        assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-6)
        assert std == pytest.approx(expected["inception_score_std"], rel=1e-6)


def test_r_precision_is_the_papers_brute_force() -> None:
    rng = np.random.default_rng(0)
    sentences = torch.nn.functional.normalize(torch.randn(60, 8), dim=1)
    classes = rng.integers(0, 5, 60)
    codes = 3 * sentences + torch.randn(60, 8)
    drawn = Distractors(classes, np.arange(60), 20, seed=3)
    wrong = drawn.of(np.arange(60), classes, np.arange(60))
    expected = []
    for k in range(60):
        assert len(set(wrong[k])) == 20 and (classes[wrong[k]] != classes[k]).all()
        candidates = torch.stack([sentences[k], *(sentences[i] for i in wrong[k])])
        scores = torch.nn.functional.cosine_similarity(codes[k][None], candidates)
        expected.append(int(scores.argmax()) == 0)
    matching, margin = matching_scores(codes, sentences, sentences[torch.from_numpy(wrong)])
    found = (margin > 0).numpy()
    assert found.tolist() == expected and 0 < found.sum() < 60
    torch.testing.assert_close(matching, torch.nn.functional.cosine_similarity(codes, sentences))
    fold = fold_of(np.arange(60), 60, 10)
    counts = FoldCounts.of(found[:17], fold[:17], 10) + FoldCounts.of(found[17:], fold[17:], 10)
    per_fold = found.reshape(10, 6).mean(1)
    assert counts.precision() == (pytest.approx(per_fold.mean()), pytest.approx(per_fold.std()))


def test_distractors_are_a_function_of_seed_and_image() -> None:
    classes, texts = np.arange(50) % 5, np.arange(50)
    images, own = np.array([4, 9, 5]), np.array([0, 11, 0])
    drawn = Distractors(classes, texts, 10, seed=0).of(images, classes[own], own)
    for row, (image, caption) in enumerate(zip(images, own, strict=True)):
        alone = Distractors(classes, texts, 10, seed=0).of(np.array([image]), classes[[caption]], np.array([caption]))
        assert (alone[0] == drawn[row]).all()
        assert len(set(drawn[row])) == 10 and (classes[drawn[row]] != classes[caption]).all()
    assert set(drawn[0]) != set(drawn[2])
    assert (drawn != Distractors(classes, texts, 10, seed=1).of(images, classes[own], own)).any()


def test_distractors_never_say_what_the_own_caption_does() -> None:
    classes, texts = np.arange(50) % 5, np.arange(50)
    texts[1::5] = 0  # all of class 1 say what caption 0 does
    drawn, own = Distractors(classes, texts, 30, seed=0), np.zeros(200, np.int64)
    found = drawn.of(np.arange(200), own, own)
    # 30 are left of other classes that do not say it: every row is all of them, in some order.
    assert (np.sort(found) == np.flatnonzero(classes > 1)).all()
    with pytest.raises(ValueError, match="do not say what an image's own does, the split has 30 for one"):
        Distractors(classes, texts, 31, seed=0).of(np.arange(2), own[:2], own[:2])
    with pytest.raises(ValueError, match="99 captions of other classes, the split has 40"):
        Distractors(classes, np.arange(50), 99, seed=0).of(np.arange(1), own[:1], own[:1])


def test_the_most_distractors_are_those_of_the_caption_that_has_the_fewest() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        classes, texts = rng.integers(0, 4, 30), rng.integers(0, 12, 30)
        brute = min(int(((classes != classes[k]) & (texts != texts[k])).sum()) for k in range(30))
        assert available_distractors(classes, texts) == brute
        every = np.arange(30)
        if brute:
            found = Distractors(classes, texts, brute, seed=0).of(every, classes, texts)
            assert found.shape == (30, brute)
        with pytest.raises(ValueError, match=f"needs {brute + 1} captions of other classes"):
            Distractors(classes, texts, brute + 1, seed=0).of(every, classes, texts)
    assert available_distractors(np.zeros(5, int), np.arange(5)) == 0


def test_every_caption_is_as_likely_a_distractor() -> None:
    classes, own = np.arange(30) % 3, np.zeros(20_000, np.int64)
    found = Distractors(classes, np.arange(30), 7, seed=0).of(np.arange(20_000), own, own)
    expected = 20_000 * 7 / 20
    for column in (slice(None), slice(0, 1)):  # wherever in its row
        counts = np.bincount(found[:, column].ravel(), minlength=30)[classes != 0]
        chi_square = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
        assert chi_square < 43.8  # 19 degrees of freedom, 0.1 %
    assert counts.mean() * 7 == pytest.approx(expected)


def test_released_statistics_are_read(tmp_path: Path) -> None:
    features = torch.randn(50, 6)
    moments = FeatureSums.of(features).moments()
    np.savez(tmp_path / "real.npz", mu=moments.mean, sigma=moments.covariance)
    read = read_moments(str(tmp_path / "real.npz"))
    other = FeatureSums.of(torch.randn(50, 6)).moments()
    assert frechet_distance(other, read) == frechet_distance(other, moments)
    np.savez(tmp_path / "short.npz", mu=moments.mean, sigma=moments.covariance[:3])
    with pytest.raises(StorageError, match=r"short.npz: expected mu \(D,\) and sigma \(D, D\), found mu \(6,\)"):
        read_moments(str(tmp_path / "short.npz"))
    (tmp_path / "text.npz").write_text("mu")
    with pytest.raises(StorageError, match=r"text.npz: expected an .npz file with arrays mu and sigma"):
        read_moments(str(tmp_path / "text.npz"))
    sigma = moments.covariance.copy()
    skewed, signless = sigma.copy(), sigma.copy()
    skewed[0, 1] += 1
    signless[0, 0] = np.nan
    for wrong, reason in ((skewed, "not symmetric"), (-np.eye(6), "negative eigenvalue"), (signless, "no numbers")):
        np.savez(tmp_path / "wrong.npz", mu=moments.mean, sigma=wrong)
        with pytest.raises(StorageError, match=rf"wrong.npz: expected a mean and a covariance; sigma .*{reason}"):
            read_moments(str(tmp_path / "wrong.npz"))
    np.savez(tmp_path / "wrong.npz", mu=np.full(6, np.inf), sigma=sigma)
    with pytest.raises(StorageError, match=r"mu has values that are no numbers or infinite"):
        read_moments(str(tmp_path / "wrong.npz"))
    with pytest.raises(StorageError, match=r"real.npz: has features of 5 dimensions, the extractor of 6"):
        Moments(np.zeros(5), np.eye(5)).check(6, "real.npz")
