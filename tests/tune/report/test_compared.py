"""Comparing configurations over seeds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dmgan.config import load_config
from dmgan.runs.run import Run
from tune.report.compared import interval
from tune.report.page import write_report
from tune.results import FINISHED, Rung, Trial
from tune.space import load_space

FID = {"gan-int-cls": (30.0, 31.0, 29.0), "attngan": (20.0, 22.0, 21.0), "dm-gan": (19.0, 23.5, 20.5)}


def test_the_interval_is_students() -> None:
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.303 / 3**0.5, rel=1e-6)
    assert interval([5.0, 5.0]) == (5, 0)


def evaluation(real: dict[str, dict[str, float]]) -> dict[str, object]:
    known = {"images": 40, "features": "damsm", "step": 9, "weights": "ema", "generator_sha256": "", "checksum": ""}
    lists: dict[str, object] = {"best": [], "worst": [], "r_precision_by_class": [], "protocol": {}}
    scores = {"fid": 30.0, "r_precision": 0.5}
    return {**known, **lists, **scores, "data": "", "seconds": 1.0, "real_scores": real}


def test_a_sweep_over_systems_is_compared_by_seed(untrained: tuple[Run, list[str]], tmp_path: Path) -> None:
    sweep, config = Run(str(tmp_path / "table1")), load_config(None, untrained[1])
    sweep.write_config(config)
    space = load_space("table1", config).to_dict()
    about = {
        "trials": 12,
        "objective": "fid",
        "state": FINISHED,
        "started": 0.0,
        "caps": {},
        "captions": ["a red bird"],
    }
    sweep.write_json("sweep.json", {"space": space, **about})
    for number, (system, seed) in enumerate((system, seed) for system in FID for seed in range(3)):
        values = {"system": system, "train.seed": seed}
        fid = FID[system][seed]
        scores = {"fid": fid, "r_precision": 0.5, "judge_r_precision": 0.4, "inception_score": 2.0}
        rung = Rung(step=9, score=fid, scores=scores, hours=1.0)
        trial = Trial(id=f"{number:03d}", planned=values, values=values, state=FINISHED, rungs=[rung], started=number)
        trial.save(sweep)
        run = Run(sweep.path("trials", trial.id))
        for name in ("encoders.safetensors", "vocabulary.json", "generator.safetensors", "generator.json"):
            shutil.copy(untrained[0].path(name), run.path(name))
        run.write_config(config)
    real = {"r_precision": {"mean": 0.625, "std": 0.0}, "judge_r_precision": {"mean": 0.7, "std": 0.0}}
    first = Run(sweep.path("trials", "000"))
    first.write_json("evaluation.json", evaluation(real))
    page = Path(write_report(sweep)).read_text()
    text = Path(sweep.path("report.md")).read_text()
    assert "| gan-int-cls | attngan | FID ↓ | 3 | -9.000 ± 2.484 | attngan is better |" in text
    assert "| attngan | dm-gan | FID ↓ | 3 | +0.000 ± 3.286 | not told apart |" in text
    (ceiling,) = [line for line in text.splitlines() if line.startswith("| real test images, by #1's measures |")]
    assert "| 62.50 |" in ceiling and "| 70.00 |" in ceiling and "real test images, by #1" in page
    assert "| attngan | 3 | 21.000 ± 1.000 |" in text and "R-precision, independent judge ↑ (%)" in text
    assert "generator, M parameters" in text and "| GAWWN | CUB | 3.62 ± 0.07 |" in text
    assert "positions of the bird's parts" in text and "Differences by seed" in page
    assert "attngan \\u2192 dm-gan" in page and page.count("differences by seed") >= 2  # a figure for each main score
    # Nothing is drawn that says nothing: curves of one point, the share of the only key.
    assert (
        "No trial has been evaluated more than once" in page and "training step" not in page and "PED-ANOVA" not in page
    )
