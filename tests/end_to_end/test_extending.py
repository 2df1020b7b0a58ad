"""docs/extending.md, word for word: its module is written from the page, packs, trains, evaluates and is reported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from benchmarks.faults import SMALL
from datasets.manifest import load_manifest
from dmgan.config import load_config
from dmgan.evaluation.record import read_evaluation
from dmgan.runs.run import Run
from tune.results import load_trials
from tune.space import parse_space

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PARTS = [
    "plugins=[my_parts]",
    "model.architecture=plain-gan",
    "model.text_encoder=characters",
    "loggers=[tensorboard, csv]",
    "data.max_words=60",
    "evaluate.max_words=60",
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)


def sets(*assignments: str) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]


@pytest.fixture(scope="module")
def folder(cub_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """my_parts.py, and drawn birds in a zip archive."""
    made = tmp_path_factory.mktemp("outsider")
    (made / "my_parts.py").write_text("\n\n".join(blocks("python")))
    images = sorted((cub_source / "CUB_200_2011" / "images").rglob("*.jpg"))
    with zipfile.ZipFile(made / "birds.zip", "w") as archive:
        for path in images:
            archive.write(path, path.name)
            text = cub_source / "text" / path.parent.name / f"{path.stem}.txt"
            archive.write(text, text.name)
    return made


@pytest.mark.distributed
def test_the_pages_parts_pack_train_evaluate_and_are_a_sweeps_objective(folder: Path) -> None:
    packing = ["datasets.pack", "zip", str(folder / "birds.zip"), str(folder / "data")]
    packed = run_python(folder, *packing, *sets("plugins=[my_parts]", "resolution=64"))
    assert packed.returncode == 0, packed.stderr
    manifest, _ = load_manifest(str(folder / "data"))
    assert manifest.splits["train"].samples == 56 and manifest.splits["test"].samples == 14
    settings = [*SMALL, *PARTS, "data.draw_birds=false", f"data.url={folder / 'data'}", "train.log_every=2"]
    settings += ["train.max_steps=4", "checkpoint.every_steps=2", "evaluate.images=24", "evaluate.distractors=20"]
    command = ["dmgan.launch", "tune", "--storage", str(folder), "--name", "mine", "--workers", "1"]
    (folder / "space.yaml").write_text("optimizer.generator_lr: {grid: [0.002]}\n")
    more = sets(*settings, "tune.objective=contrast", "evaluate.folds=4", "evaluate.splits=4")
    done = run_python(folder, *command, "--search", str(folder / "space.yaml"), *more)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    trials = load_trials(Run(str(folder / "mine")))
    assert len(trials) == 1 and all(trial.score == 1 - trial.rungs[0].scores["contrast"] for trial in trials)
    run = Run(str(folder / "mine" / "trials" / trials[0].id))
    lines = run.read_metrics()
    assert {name for line in lines if line.stage == "train" for name in line.losses} == {"hinge", "adversarial"}
    evaluation = read_evaluation(run)
    assert evaluation is not None and float(str(evaluation.values["contrast"])) > 0
    assert Path(run.path("losses-train.csv")).read_text().startswith("step,loss\n2,")
    assert "contrast (8-bit levels" in (folder / "mine" / "report.html").read_text()
    one = ("--storage", str(folder / "mine" / "trials"), "--name", trials[0].id)
    report = run_python(folder, "dmgan.launch", "report", *one)
    assert report.returncode == 0, report.stderr
    assert "<th>contrast ↑</th>" in Path(run.path("report.html")).read_text()
    drawn = run_python(
        folder,
        *("dmgan.launch", "generate", *one),
        *("--caption", "a red bird", "--out", str(folder / "drawn")),
    )
    assert drawn.returncode == 0 and len(list((folder / "drawn").glob("000-*.png"))) == 1, drawn.stderr


def test_the_pages_preset_is_a_space() -> None:
    (preset,) = blocks("yaml")
    assert parse_space(yaml.safe_load(preset), load_config("cub"), "the page").keys == [
        "optimizer.generator_lr",
        "optimizer.discriminator_lr",
    ]


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("plugins=[nowhere_at_all]", "plugins: nowhere_at_all: cannot be imported: No module named 'nowhere_at_all'"),
        ("model.architecture=dfgan", "model.architecture=dfgan: no such architecture; registered are attngan, dm-gan,"),
        ("model.text_encoder=bert", "model.text_encoder=bert: no such text encoder; registered are lstm"),
        ("loggers=[paper]", "loggers=paper: no such logger; registered are tensorboard"),
    ],
)
def test_unknown_names_list_what_is_registered_before_anything_starts(
    assignment: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dmgan.launch import main

    assert main(["--storage", str(tmp_path), "--set", assignment]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_and_objective_list_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from datasets.packing.command import main as pack
    from dmgan.launch import main

    assert pack(["tiff", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "FORMAT=tiff: no such format; registered are cub, birds, folder, coco" in capsys.readouterr().err
    objective = ["--set", "tune.objective=beauty"]
    assert main(["tune", "--search", "tiny", "--storage", str(tmp_path), *objective]) == 2
    assert "tune.objective=beauty: no metric gives it; expected inception_score, fid," in capsys.readouterr().err
