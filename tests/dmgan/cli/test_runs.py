"""The runs of a storage: listed, removed, cloned, and named when a name is mistyped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.worker.checkpoints import Checkpoints
from cluster.worker.position import Position
from cluster.worker.state import CheckpointState
from datasets import storage
from datasets.storage.lease import leased
from datasets.storage.local_s3 import local_s3
from dmgan.config import load_config
from dmgan.launch import main
from dmgan.runs.folder import LEASE
from dmgan.runs.metrics import MetricsLine
from dmgan.runs.run import Run


def make_run(url: str, steps: tuple[int, ...] = (5, 10), planned: int = 10) -> Run:
    """A run with checkpoints, metrics and samples; its weights are none."""
    run, config = Run(url), load_config(None, [f"train.max_steps={planned}"])
    checkpoints = Checkpoints(run, keep=5)
    for step in steps:
        state = CheckpointState(stage="train", position=Position(1, 2, 50, step=step), seed=0, config={})
        text = f"{run.name} {step}".encode()
        checkpoints.save(state, {"average.safetensors": lambda text=text: text}, {})  # type: ignore[misc]
        checkpoints.wait()
        storage.write_bytes(run.path("samples", f"step_{step:08d}.png"), text)
    for file in ("vocabulary.json", "encoders.safetensors"):
        run.write_json(file, {})
    lines = [
        MetricsLine(stage=stage, step=step, epoch=0.1, images=step, images_per_second=1.0, losses={"loss": 1.0})
        for stage, step in (("pretrain", 20), *(("train", step) for step in steps))
    ]
    storage.write_bytes(run.path("metrics.jsonl"), b"".join(line.model_dump_json().encode() + b"\n" for line in lines))
    run.write_config(config)
    return run


def said(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    capsys.readouterr()
    assert main(arguments) == code
    found = capsys.readouterr()
    return found.err if code else found.out


def test_runs_and_sweeps_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--storage", str(tmp_path)]
    assert said(["runs", *where], capsys).startswith(f"no runs in {tmp_path}; ")
    first = make_run(str(tmp_path / "first"))
    make_run(str(tmp_path / "birds" / "second"), steps=(5,))
    scores = {"fid": 12.5, "inception_score": {"mean": 3.25, "std": 0.1}, "images": 300, "features": "damsm"}
    first.write_json("evaluation.json", scores)
    (tmp_path / "sweep" / "trials" / "0000").mkdir(parents=True)
    (tmp_path / "sweep" / "trials" / "0000" / "run.yaml").write_text("{}")
    (tmp_path / "sweep" / "sweep.json").write_text('{"state": "finished", "trials": 3}')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.yaml").write_text("train: 3\n")
    (tmp_path / ".s3").mkdir()
    listed = {entry["name"]: entry for entry in json.loads(said(["runs", "--json", *where], capsys))}
    assert list(listed) == ["birds/second", "broken", "first", "sweep"]
    assert listed["first"]["state"] == "trained" and listed["birds/second"]["state"] == "stopped"
    assert (listed["birds/second"]["step"], listed["birds/second"]["steps"]) == (5, 10)
    assert listed["first"]["scores"] == {"fid": 12.5, "inception_score": 3.25}
    files = sum(path.stat().st_size for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert listed["first"]["size"] == files and 0 <= listed["first"]["age"] < 600
    assert listed["sweep"]["state"] == "finished, 1 of 3 trials"
    assert listed["broken"]["state"].startswith("damaged: ")
    table = said(["runs", *where], capsys).splitlines()
    assert table[0].split() == ["NAME", "STATE", "STEP", "SCORES", "SIZE", "AGE"] and len(table) == 5
    assert "fid 12.5, inception_score 3.25" in table[3] and "10 of 10" in table[3]
    with leased(first.path(LEASE), 30.0, lambda: None):
        assert "running" in said(["runs", *where], capsys).splitlines()[3]
        assert "is at work on it; stop that first" in said(["runs", "rm", "first", "--yes", *where], capsys, 2)
    (tmp_path / "first" / "report.html").write_text("")
    first.write_json("generator.json", json.loads((tmp_path / "first" / "run.yaml").read_text() and "{}"))
    assert "damaged" in said(["runs", *where], capsys).splitlines()[3]


def test_a_run_is_removed_when_that_is_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ["--storage", str(tmp_path)]
    for name in ("one", "two"):
        make_run(str(tmp_path / name))
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert "expected --yes where nobody can be asked" in said(["runs", "rm", "one", *where], capsys, 2)
    assert "no such run" in said(["runs", "rm", "one", "three", "--yes", *where], capsys, 2)
    assert "'..': expected a name" in said(["runs", "rm", "..", "--yes", *where], capsys, 2)
    assert (tmp_path / "one" / "run.yaml").exists()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert said(["runs", "rm", "one", *where], capsys).endswith("stays\n") and (tmp_path / "one").exists()
    monkeypatch.setattr("builtins.input", lambda question: "y")
    said(["runs", "rm", "one", *where], capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two"]


def test_a_clone_is_the_run_as_it_was_at_a_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--storage", str(tmp_path)]
    source = make_run(str(tmp_path / "source"))
    assert "no checkpoint of step 7; there are: 5, 10" in said(
        ["runs", "clone", "source", "new", "--from-step", "7", *where], capsys, 2
    )
    assert not (tmp_path / "new").exists()
    assert "after 5 steps" in said(["runs", *where, "clone", "source", "new", "--from-step", "5"], capsys)
    new = Run(str(tmp_path / "new"))
    assert new.read_config() == source.read_config() and new.trained_steps() == 5
    assert [(line.stage, line.step) for line in new.read_metrics()] == [("pretrain", 20), ("train", 5)]
    assert [path.name for path in (tmp_path / "new" / "samples").iterdir()] == ["step_00000005.png"]
    assert Checkpoints(new).newest_intact("train") == "train-00000005"
    assert new.read_json("origin.json") == {"run": source.url, "step": 5}
    assert "new: exists; choose another name" in said(["runs", "clone", "source", "new", *where], capsys, 2)
    said(["runs", "clone", "source", "newest", *where], capsys)
    assert Run(str(tmp_path / "newest")).trained_steps() == 10


@pytest.mark.parametrize("command", [["evaluate"], ["report"], ["generate", "--caption", "a bird"], ["runs", "rm"]])
def test_a_mistyped_name_lists_those_that_are_near(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("birds-small", "birds-large", "letters"):
        make_run(str(tmp_path / name), steps=())
    name = ["bird-smal"] if command[0] == "runs" else ["--name", "bird-smal"]
    line = said([*command, *name, "--storage", str(tmp_path)], capsys, 2)
    assert f"bird-smal: no such run in {tmp_path}; did you mean birds-small" in line and "letters" not in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "source"], "--from source: goes with --name"),
        (["--from", "sourc", "--name", "new"], "--from sourc: no such run in"),
        (["--from", "source@last", "--name", "new"], "expected RUN or RUN@STEP, such as source@5000"),
        (["--from", "source@7", "--name", "new"], "--from source@7: no checkpoint of step 7; there are: 5, 10"),
        (["--from", "source", "--name", "new"], "train.max_steps=10: --from source goes on after 10 steps; expected"),
        (["--from", "source", "--name", "new", "--set", "model.memory=m"], "model.memory: run source was trained with"),
        (["--from", "source", "--name", "new", "--set", "train.seed=5"], "train.seed: run source was trained with 0,"),
        (["--from", "source", "--name", "other"], "run other is there and began otherwise"),
    ],
)
def test_what_a_new_run_cannot_go_on_from(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(str(tmp_path / "source"))
    make_run(str(tmp_path / "other"))
    assert message in said(["train", *arguments, "--storage", str(tmp_path)], capsys, 2)
    assert not (tmp_path / "new").exists()


@pytest.mark.distributed
def test_a_bucket_is_listed_cloned_and_emptied_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    with local_s3(tmp_path):
        storage.make_folder("s3://runs")
        make_run("s3://runs/all/source")
        where = ["--storage", "s3://runs/all"]
        said(["runs", "clone", "source", "new", "--from-step", "5", *where], capsys)
        listed = json.loads(said(["runs", "--json", *where], capsys))
        assert [(entry["name"], entry["step"]) for entry in listed] == [("new", 5), ("source", 10)]
        assert all(entry["size"] > 1000 and 0 <= entry["age"] < 600 for entry in listed)
        said(["runs", "rm", "source", "--yes", *where], capsys)
        assert [entry["name"] for entry in json.loads(said(["runs", "--json", *where], capsys))] == ["new"]
