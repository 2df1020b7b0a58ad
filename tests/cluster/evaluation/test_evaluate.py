"""The distributed evaluation: the same scores from any number of workers, killed and resumed; torch-fidelity's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from cluster.evaluation import evaluate as evaluation
from cluster.evaluation.candidate import candidate
from cluster.evaluation.evaluate import evaluate
from datasets.storage import StorageError
from datasets.stream import open_images
from dmgan.config import load_config
from dmgan.runs.run import Run

pytestmark = pytest.mark.distributed
SCORES = ("fid", "inception_score", "r_precision", "colour_accuracy", "kid", "precision", "recall")
SMALL = ("evaluate.features=small", "evaluate.features_module=tests.small_extractor", "evaluate.images=63")
BOTH = ("evaluate.kid=true", "evaluate.precision_recall=true", "evaluate.batch_size=4", "evaluate.splits=4")


@pytest.fixture(scope="module", autouse=True)
def ray_of_three() -> Iterator[None]:
    import ray

    # Three workers on whatever cores there are.
    ray.init(address="local", num_cpus=3, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def run(untrained: tuple[Run, list[str]], tmp_path: Path) -> Run:
    """A copy of the run without evaluations."""
    import shutil

    shutil.copytree(untrained[0].url, tmp_path / "runs" / "copy", ignore=shutil.ignore_patterns("evaluation*"))
    return Run(str(tmp_path / "runs" / "copy"))


def scored(run: Run, untrained: tuple[Run, list[str]], workers: int, *more: str, **options: Any) -> dict[str, Any]:
    config = load_config(None, [*untrained[1], *SMALL, *BOTH, f"train.workers={workers}", "train.threads=1", *more])
    return evaluate(config, run, **options).model_dump()


def same(a: dict[str, Any], b: dict[str, Any], rel: float = 1e-6) -> None:
    for key in SCORES:
        assert b[key] == pytest.approx(a[key], rel=rel), key
    assert a["best"] == b["best"] and a["r_precision_by_class"] == b["r_precision_by_class"]


@pytest.fixture(scope="module")
def alone(untrained: tuple[Run, list[str]], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """By one worker, with the images kept."""
    images = tmp_path_factory.mktemp("generated")
    return scored(untrained[0], untrained, 1, save_images=str(images)), images


def test_the_scores_are_torch_fidelitys_of_the_same_images(
    alone: tuple[dict[str, Any], Path], untrained: tuple[Run, list[str]], tmp_path: Path
) -> None:
    from torch_fidelity import calculate_metrics

    import tests.small_extractor  # noqa: F401

    result, generated = alone
    assert result["inception_score"]["mean"] > 1.05 and result["inception_score"]["std"] > 0.001
    assert len(list(generated.glob("*.png"))) == 63
    url = load_config(None, untrained[1]).data.url
    real = torch.cat(list(open_images(url, "test", 8))).permute(0, 2, 3, 1).numpy()
    for i, pixels in enumerate(real):
        Image.fromarray(pixels).save(tmp_path / f"{i:06d}.png")
    expected = calculate_metrics(
        input1=str(generated),
        input2=str(tmp_path),
        feature_extractor="small",
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        isc_splits=4,
        kid_subset_size=30,
        samples_shuffle=False,
        cuda=False,
        cache=False,
        verbose=False,
    )
    assert result["fid"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-4)
    assert result["inception_score"]["mean"] == pytest.approx(expected["inception_score_mean"], rel=1e-4)
    assert result["inception_score"]["std"] == pytest.approx(expected["inception_score_std"], rel=1e-3)
    assert result["kid"]["mean"] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert result["precision"] > 0
    assert result["precision"] == pytest.approx(expected["precision"], rel=1e-4)
    assert result["recall"] == pytest.approx(expected["recall"], rel=1e-4)


def test_the_protocol_is_written_beside_the_scores(
    alone: tuple[dict[str, Any], Path], untrained: tuple[Run, list[str]]
) -> None:
    result, protocol = alone[0], alone[0]["protocol"]
    assert untrained[0].read_json("evaluation.json")["protocol"] == protocol
    assert protocol["name"] == "quick, changed" and "images 63, not 1,000" in protocol["departures"]
    assert protocol["extractor"]["name"] == "small" and protocol["real"]["images"] == 30
    assert protocol["r_precision"]["distractors"] == 99 and protocol["weights"] == "ema" and protocol["seed"] == 0
    assert len(result["best"]) == len(result["worst"]) == 8 and result["best"][0]["score"] > result["worst"][0]["score"]
    assert sum(row["images"] for row in result["r_precision_by_class"]) == 63
    with Image.open(untrained[0].path("evaluations", "step_00000003-ema.png")) as picture:
        assert picture.size == (8 * 64, 2 * 64)


def test_three_workers_one_of_them_killed(
    alone: tuple[dict[str, Any], Path], run: Run, untrained: tuple[Run, list[str]]
) -> None:
    killed: list[int] = []

    def kill() -> None:
        """One that is at a part, once there are parts."""
        while not list(Path(run.url).glob("evaluations/parts-*/generated-*")):
            time.sleep(0.005)
        deadline = time.monotonic() + 900
        while not killed and time.monotonic() < deadline:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if not killed and process.cmdline()[:1] == ["ray::_Worker.part"]:
                        process.kill()
                        killed.append(process.pid)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    same(alone[0], scored(run, untrained, 3))
    assert killed
    # Another batch size: the networks' float32 rounds differently.
    same(alone[0], scored(run, untrained, 1, "evaluate.batch_size=7"), rel=1e-5)
    assert not list(Path(run.url).glob("evaluations/parts-*"))


def test_an_evaluation_that_was_stopped_goes_on(
    alone: tuple[dict[str, Any], Path],
    run: Run,
    untrained: tuple[Run, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "scores", stop)  # after the last part
        with pytest.raises(KeyboardInterrupt):
            scored(run, untrained, 2)
    parts = sorted(Path(run.url).glob("evaluations/parts-*/generated-*"))
    assert len(parts) == 16 and not run.has("evaluation.json")
    for path in parts[5:]:
        path.unlink()
    parts[2].write_bytes(parts[2].read_bytes()[:50])  # damaged: computed again
    (cached,) = (Path(run.url).parent / ".real-statistics").iterdir()
    written = cached.stat().st_mtime_ns
    same(alone[0], scored(run, untrained, 2))
    assert "going on: 5 of 16 parts are there" in capfd.readouterr().out
    assert cached.stat().st_mtime_ns == written
    assert np.isclose(candidate(load_config(None, untrained[1]), run).step, 3)


def test_released_statistics_of_other_features_are_refused(
    run: Run, untrained: tuple[Run, list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "real.npz"
    np.savez(path, mu=np.zeros(2048), sigma=np.eye(2048))
    off = ("evaluate.kid=false", "evaluate.precision_recall=false")
    with pytest.raises(StorageError, match=r"real.npz: has features of 2048 dimensions, the extractor of 16"):
        scored(run, untrained, 1, *off, f"evaluate.real_statistics={path}")
    np.savez(path, mu=np.zeros(16), sigma=np.eye(16))
    result = scored(run, untrained, 1, *off, f"evaluate.real_statistics={path}")
    assert result["protocol"]["real"]["statistics"] == str(path) and result["fid"] > 0
