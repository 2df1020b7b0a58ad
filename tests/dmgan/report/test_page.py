"""What the report says of scores; the page as a whole is looked at in tests/end_to_end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from datasets.pages.kit import render
from dmgan.config import ConfigError, load_config
from dmgan.evaluation.protocol import checksum, departures, describe, differences, settings
from dmgan.report.page import TEMPLATES
from dmgan.report.scores import score_sections
from dmgan.runs.run import Run
from tests.evaluations import evaluated


def page_of(run: Run, beside: Sequence[Run] = ()) -> str:
    """The report's scores as they are read."""
    return render("scores.html", score_sections(run, beside), [TEMPLATES]).decode()


def test_scores_stand_beside_the_published_ones_with_their_protocol(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "mine"))
    assert "No evaluation of mine yet" in page_of(run)
    evaluated(run, 4)
    page = page_of(run)
    assert "<td>DM-GAN</td><td>CUB</td><td>4.75 ± 0.07</td><td>16.09</td><td>72.31 ± 0.91 %</td>" in page
    assert "<b>measured here</b>: quick; 1,000 images; damsm features" in page and "20.00 ± 1.00 %" in page
    assert "IS and FID are on damsm features, not on Inception-v3" in page and "<td>0.1250 ± 0.0100</td>" in page
    assert "caption &lt;1&gt;" in page and page.count("data:image/png") == 4
    assert "The 10 worst and best of 25." in page and "class 24" in page and "class 12" not in page
    assert "Scores over training" not in page


def test_scores_of_other_protocols_are_not_compared_silently(tmp_path: Path) -> None:
    mine, same, other = (Run(str(tmp_path / name)) for name in ("mine", "same", "other"))
    evaluated(mine, 2)
    evaluated(mine, 4)
    evaluated(same, 4)
    evaluated(other, 4, "evaluate.distractors=50", "evaluate.seed=1")
    assert "not comparable" not in page_of(mine, [same]) and "do not compare" not in page_of(mine, [same])
    page = page_of(mine, [same, other])
    assert "other is not comparable with mine" in page and "same is not comparable" not in page
    assert "r_precision.distractors 99 and 50; seed 0 and 1" in page
    evaluated(mine, 6, "evaluate.weights=raw")
    assert "The lines are of different protocols and do not compare: weights ema and raw." in page_of(mine)


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def poisoned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: poisoned(part) for key, part in value.items()}
    if isinstance(value, list):
        return [poisoned(part) for part in value]
    return f"{value}{EVIL}" if isinstance(value, str) else value


def test_nothing_of_a_file_is_markup_in_the_page(tmp_path: Path) -> None:
    mine, other = Run(str(tmp_path / "mine")), Run(str(tmp_path / "other <script>alert(1)<b>"))
    for run in (mine, other):
        for step in (2, 4):
            evaluated(run, step)
            for name in (f"evaluations/step_{step:08d}-ema.json", "evaluation.json"):
                tree = run.read_json(name)
                tree["caveats"] = ["a caveat"]
                tree["r_precision_by_class"] = tree["r_precision_by_class"][:3]
                weights = tree["weights"]
                run.write_json(name, poisoned(tree) | {"weights": weights})
    page = page_of(mine, [other])
    assert "a caveat" in page and "alert(1)" in page
    assert "<script>alert" not in page and "<img src=x" not in page and "</script>&#34;" not in page
    with pytest.raises(ConfigError):  # a step is a number
        other.write_json("evaluation.json", other.read_json("evaluation.json") | {"step": EVIL})
        page_of(mine, [other])


def test_a_protocol_is_the_papers_only_in_everything() -> None:
    paper = load_config("cub", [])
    assert departures(paper) == [] and paper.evaluate.images is None
    changed = ["evaluate.images=500", "evaluate.features=damsm", "model.refinements=1"]
    assert departures(load_config("cub", changed)) == [
        "images 500, not 30,000",
        "features damsm, not inception-v3",
        "pixels 128, not 256",
    ]
    one = describe(paper, settings(paper, "x"), {"name": "x"}, {}, "c", "e")
    assert one["name"] == "paper" and differences(one, {**one, "code": {"version": "other"}}) == []


def test_an_evaluation_is_the_same_where_its_scores_must_be() -> None:
    def sum_of(*more: str, encoders: str = "e", generator: str = "g") -> str:
        return checksum(load_config("cub", more), encoders, generator)

    whole = sum_of()
    assert whole == sum_of("evaluate.images=30000") == sum_of("evaluate.batch_size=7", "train.workers=9")
    others = [["evaluate.images=30001"], ["evaluate.seed=1"], ["data.url=other"], ["evaluate.max_words=9"]]
    assert len({whole, *(sum_of(*more) for more in others), sum_of(encoders="f"), sum_of(generator="h")}) == 7


def test_nothing_in_a_file_becomes_markup(tmp_path: Path) -> None:
    run, evil = Run(str(tmp_path / "mine")), "<script>alert(1)</script>"
    evaluated(run, 4)
    text = json.dumps(run.read_json("evaluation.json"))
    for harmless in ("caption <1>", "class 24", "bucket/birds"):
        text = text.replace(harmless, evil if "/" not in harmless else f"bucket/{evil.replace('/', '')}")
    run.write_json("evaluation.json", json.loads(text))
    page = page_of(run)
    assert "<script>alert" not in page and page.count("&lt;script&gt;alert") >= 3


def test_a_damaged_evaluation_is_one_line(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "mine"))
    evaluated(run, 4)
    whole = run.read_json("evaluation.json")
    for changed in (
        {**whole, "step": "x"},
        {**whole, "fid": "low"},
        {k: v for k, v in whole.items() if k != "best"},
        [],
    ):
        run.write_json("evaluation.json", changed)
        with pytest.raises(ConfigError, match=r"evaluation.json: damaged") as error:
            page_of(run)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["kid", "precision_recall"])
def test_metrics_of_all_features_need_real_images(key: str) -> None:
    with pytest.raises(ConfigError, match=f"evaluate.{key}=true: needs the features of real images"):
        load_config(None, [f"evaluate.{key}=true", "evaluate.real_statistics=real.npz"])
