from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dmgan.config import ConfigError, Evaluate
from dmgan.evaluation.features import FidelityFeatures, check_extractor, describe_extractor
from dmgan.evaluation.metrics.folds import fold_of
from dmgan.evaluation.metrics.inception_score import InceptionSums

CPU = torch.device("cpu")


def inception_file(folder: Path, classes: int) -> str:
    """Random weights whose features differ from image to image: torch's own initialisation gives nearly equal ones."""
    import dmgan.model.torchvision_cpu  # noqa: F401, I001
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *ignored: Any, **options: Any) -> None:
            self.fc = nn.Linear(2048, classes)

    torch.save({}, folder / "empty.pth")
    torch.manual_seed(0)
    network = Untrained("x", ["2048"], feature_extractor_weights_path=str(folder / "empty.pth"))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    nn.init.normal_(network.fc.weight, std=0.2)
    path = folder / f"inception-{classes}.pth"
    torch.save(network.state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return inception_file(tmp_path_factory.mktemp("weights"), 1008)


def features(options: Evaluate, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    found = [FidelityFeatures(options, CPU)(part) for part in images.split(7)]
    return torch.cat([a for a, _ in found]), torch.cat([b for _, b in found])


def test_inceptions_features_and_is_are_torch_fidelitys_of_the_same_files(weights: str, tmp_path: Path) -> None:
    """And FID with them, which is on their sums alone (tests/dmgan/evaluation/test_metrics.py)."""
    from torch_fidelity import calculate_metrics
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    coarse = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
    pixels = [np.asarray(Image.fromarray(each).resize((64, 64))) for each in coarse]
    for i, each in enumerate(pixels):
        Image.fromarray(each).save(tmp_path / f"{i:06d}.png")
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    expected = calculate_metrics(
        input1=str(tmp_path),
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=weights,
        isc=True,
        isc_splits=2,
        samples_shuffle=False,
        cuda=False,
        cache=False,
        verbose=False,
    )
    options = Evaluate(features_weights=weights)
    found, logits = features(options, images)
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=weights)
    with torch.no_grad():
        (wanted,) = theirs(images)
    assert wanted.std(dim=0).mean() > 1e-3
    assert float((found - wanted).norm() / wanted.norm()) < 1e-5
    mean, std = InceptionSums.of(logits, fold_of(np.arange(9), 9, 2), 2).score()
    assert mean > 1.01
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-4)
    assert std == pytest.approx(expected["inception_score_std"], rel=1e-3)
    about = describe_extractor(options, "", 1.0)
    assert about["weights"] == "not torch-fidelity's" and len(about["weights_sha256"]) == 64
    assert about["antialiasing"] is False and about["layers"]["isc"] == "logits_unbiased"


def test_an_inception_of_other_classes(tmp_path: Path) -> None:
    path = inception_file(tmp_path, 50)
    options = Evaluate(features_weights=path, features_classes=50)
    check_extractor(options)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    code, logits = features(options, images)
    assert code.shape == (2, 2048) and logits.shape == (2, 50)
    assert describe_extractor(options, "", 1.0)["layers"]["isc"] == "logits"
    with pytest.raises(ConfigError, match=r"evaluate.features_classes=1008: .*inception-50.pth has 50 classes"):
        check_extractor(Evaluate(features_weights=path))


def test_what_cannot_be_had_is_said_in_one_line(tmp_path: Path) -> None:
    def refusal(**options: Any) -> str:
        with pytest.raises(ConfigError) as error:
            check_extractor(Evaluate(**options))
        assert "\n" not in str(error.value)
        return str(error.value)

    missing = refusal()
    for part in (
        "evaluate.features_weights: not set",
        "https://github.com/toshas/torch-fidelity",
        "SHA-256 6726825d0af5",
    ):
        assert part in missing
    assert "nowhere.pth: not found; expected torch-fidelity's" in refusal(
        features_weights=str(tmp_path / "nowhere.pth")
    )
    (tmp_path / "text.pth").write_text("weights")
    assert "text.pth: damaged or another file" in refusal(features_weights=str(tmp_path / "text.pth"))
    assert "evaluate.features=incption: expected inception-v3, damsm or" in refusal(features="incption")
    assert "evaluate.features_module=no.such: cannot be imported" in refusal(features="x", features_module="no.such")
    assert "which torch-fidelity would download" in refusal(features="vgg16")
    check_extractor(Evaluate(features="damsm"))
    check_extractor(Evaluate(features="small", features_module="tests.small_extractor"))
