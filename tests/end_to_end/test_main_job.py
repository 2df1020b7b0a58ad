"""The main job through the command line: small, but every part real — local S3, Ray, two workers, DeepSpeed."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from PIL import Image

from benchmarks.faults import SMALL, Job
from datasets.manifest import Manifest
from dmgan.launch import main
from dmgan.runs.machine import read_machines
from dmgan.runs.run import Run

pytestmark = pytest.mark.distributed
ROOT = Path(__file__).parents[2]
SETTINGS = [
    *SMALL,
    "train.max_steps=12",
    "train.log_every=4",
    "train.sample_every=6",
    "checkpoint.every_steps=4",
    "checkpoint.keep=2",
    "evaluate.images=320",
    "evaluate.batch_size=5",
]


def command(storage: Path, url: str, *more: str) -> list[str]:
    sets = [part for assignment in (*SETTINGS, f"data.url={url}") for part in ("--set", assignment)]
    return [sys.executable, "-m", "dmgan.launch", "--storage", str(storage), *sets, *more]


def launch(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def undisturbed(packed: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("undisturbed")
    # Relative paths, as people type them: Ray's workers have other working directories.
    relative = [Path(os.path.relpath(path, ROOT)) for path in (storage, Path(packed[0]))]
    done = launch(command(relative[0], str(relative[1])))
    assert done.returncode == 0, done.stdout + done.stderr
    for number, stage in enumerate(("dataset", "pretrain", "train", "evaluate", "report"), start=1):
        assert f"[{number}/5] {stage}: " in done.stdout
    return storage / "quickstart"


def test_the_run_holds_what_it_should(undisturbed: Path) -> None:
    run = Run(str(undisturbed))
    assert run.read_config().train.max_steps == 12
    lines = run.read_metrics()
    trained = [line for line in lines if line.stage == "train"]
    assert [line.step for line in trained] == [4, 8, 12]
    assert [line.images for line in trained] == [32, 64, 96]
    assert all(line.images_per_second > 0 and len(line.losses) == 9 for line in trained)
    assert trained[0].learning_rates == {"generator": 0.0015, "discriminators": 0.0005}
    assert read_machines(run)["train"].workers == 2
    assert sorted(path.name for path in (undisturbed / "samples").iterdir()) == [
        "step_00000006.png",
        "step_00000012.png",
    ]
    with Image.open(undisturbed / "samples" / "step_00000012.png") as picture:
        assert picture.height > picture.width > 3 * 128
    checkpoints = list((undisturbed / "checkpoints").glob("train-*/state.json"))
    assert len(checkpoints) == 2
    evaluation = run.read_json("evaluation.json")
    assert evaluation["images"] == 320 and evaluation["features"] == "damsm" and evaluation["step"] == 12
    assert evaluation["fid"] > 0 and evaluation["inception_score"]["mean"] >= 1
    assert 0 <= evaluation["r_precision"]["mean"] <= 1 and 0 <= evaluation["colour_accuracy"] <= 1
    page = (undisturbed / "report.html").read_text().rpartition("<body>")[2]
    assert page.count("data:image/png;base64") > 20 and page.count('class="plot"') >= 7
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)  # nothing is fetched
    assert "not on Inception-v3" in page


def test_what_the_driver_said_is_in_its_log(undisturbed: Path) -> None:
    log = (undisturbed / "driver.log").read_text(encoding="utf-8")
    assert log.count("--- dmgan ") == 1 and log.rstrip().endswith("--- done")
    assert all(f"[{number}/5] {stage}: " in log for number, stage in enumerate(("dataset", "pretrain"), start=1))
    assert "report.html" in log and not (undisturbed / ".report-of-a-training").exists()


def test_a_new_run_goes_on_from_a_checkpoint_with_another_learning_rate(undisturbed: Path) -> None:
    changed = ["optimizer.generator_lr=0.0001", "train.max_steps=16", "evaluate.enabled=false", "train.workers=1"]
    sets = [part for assignment in changed for part in ("--set", assignment)]
    where = ["--storage", str(undisturbed.parent), "--name", "slower"]
    arguments = [sys.executable, "-m", "dmgan.launch", "train", "--from", "quickstart@12", *where, *sets, "--quiet"]
    done = launch(arguments)
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr
    assert "steps" not in done.stderr  # no progress
    run, source = Run(str(undisturbed.parent / "slower")), Run(str(undisturbed))
    lines = [line for line in run.read_metrics() if line.stage == "train"]
    assert [line.step for line in lines] == [4, 8, 12, 16]
    assert lines[:3] == [line for line in source.read_metrics() if line.stage == "train"]
    assert run.read_config().optimizer.generator_lr == 0.0001 and run.trained_steps() == 16
    assert run.read_json("origin.json") == {"run": source.url, "step": 12} and run.has("report.html")
    again = launch(arguments[:-1])
    assert again.returncode == 0 and "is complete, nothing to do" in again.stdout, again.stderr


def test_no_credentials_are_left_in_the_run(undisturbed: Path) -> None:
    for path in undisturbed.rglob("*"):
        assert not (path.is_file() and b"SECRET" in path.read_bytes().upper() and path.suffix in (".yaml", ".json"))


def test_a_second_start_says_that_it_is_done_without_a_cluster(undisturbed: Path, packed: tuple[str, Manifest]) -> None:
    again = launch(command(undisturbed.parent, packed[0]))
    assert again.returncode == 0 and "is complete, nothing to do" in again.stdout
    assert "Ray" not in again.stdout + again.stderr


def test_an_evaluation_whose_driver_is_killed_goes_on_with_another_number_of_workers(
    undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(str(undisturbed))
    before, trained = run.read_json("evaluation.json"), run.read_config()
    Path(run.path("evaluation.json")).unlink()
    shutil.rmtree(run.path("evaluations"))
    arguments = [sys.executable, "-m", "dmgan.launch", "evaluate", "--storage", str(undisturbed.parent)]
    killed = Job(arguments, undisturbed)
    deadline = time.monotonic() + 900
    while not list(undisturbed.glob("evaluations/parts-*/generated-*")):
        assert killed.process.poll() is None and time.monotonic() < deadline, killed.log()
        time.sleep(0.005)
    killed.process.kill()
    killed.process.wait()
    assert not run.has("evaluation.json")
    done = launch([*arguments, "--workers", "1"])
    assert done.returncode == 0, done.stderr
    assert "parts are there" in done.stdout
    after = run.read_json("evaluation.json")
    assert run.read_config() == trained  # evaluating with other workers does not change what training resumes with
    for key in ("fid", "inception_score", "r_precision", "colour_accuracy"):
        assert after[key] == pytest.approx(before[key], rel=1e-6)
    again = launch(arguments)
    assert again.returncode == 0 and "evaluate: done already" in again.stdout
    curve = launch([*arguments, "--workers", "1", "--steps", "all"])
    assert curve.returncode == 0 and "evaluate: step 8: IS " in curve.stdout, curve.stderr
    assert run.read_json("evaluations/step_00000008-ema.json")["fid"] != after["fid"]
    assert run.read_json("evaluations/step_00000012-ema.json")["fid"] == pytest.approx(after["fid"], rel=1e-6)
    here = ["--storage", str(undisturbed.parent)]
    assert main(["evaluate", *here, "--steps", "5"]) == 2
    assert "--steps 5: no checkpoint of step 5; there are: 8, 12" in capsys.readouterr().err
    raw = launch([*arguments, "--set", "evaluate.weights=raw", "--set", "evaluate.images=20"])
    assert raw.returncode == 0 and run.read_json("evaluation.json")["protocol"]["weights"] == "raw", raw.stderr
    assert main(["report", *here]) == 0
    page = (undisturbed / "report.html").read_text()
    assert "Scores over training" in page and "do not compare: images 320 and 20" in page


def test_images_and_words_from_captions(undisturbed: Path, packed: tuple[str, Manifest], tmp_path: Path) -> None:
    caption = "this bird is red with black wings"
    more = ["--caption", caption, "--count", "2", "--out", str(tmp_path)]
    arguments = [sys.executable, "-m", "dmgan.launch", "generate", "--storage", str(undisturbed.parent)]
    done = launch([*arguments, "--name", "quickstart", *more])
    assert done.returncode == 0, done.stderr
    images = sorted(tmp_path.glob("000-*.png"))
    assert len(images) == 2 and images[0].read_bytes() != images[1].read_bytes()
    with Image.open(images[0]) as picture:
        assert picture.size == (64, 64)
    assert "refinement 2 | written: " in (tmp_path / "words.txt").read_text()


def wait_for_checkpoint(job: Job, after: int = 0) -> int:
    """The step of the newest checkpoint, when there is one after this step."""
    deadline = time.monotonic() + 900
    while (reached := max((int(name.split("-")[1]) for name in job.checkpoints()), default=0)) <= after:
        assert job.process.poll() is None and time.monotonic() < deadline, job.log()
        time.sleep(0.02)
    return reached


def started(arguments: list[str], folder: Path) -> Job:
    """A run in GAN training, with its first checkpoint."""
    job = Job(arguments, folder)
    wait_for_checkpoint(job)
    return job


def stop(job: Job, terminate: Callable[[], None]) -> int:
    """The step that a run was stopped at, with a checkpoint and nothing left of it."""
    below = psutil.Process(job.process.pid).children(recursive=True)
    assert any("raylet" in process.name() for process in below)
    terminate()
    deadline = time.monotonic() + 900
    while (code := job.process.poll()) is None:  # that the terminal is gone says nothing new
        assert time.monotonic() < deadline, job.log()
        time.sleep(0.5)
        job.process.send_signal(signal.SIGHUP)
    reached = Run(str(job.folder)).trained_steps()
    assert code == (143 if reached < 12 else 0), job.log()
    if code:
        said = "dmgan: stopped by SIGTERM, with a checkpoint; the same command goes on from the last checkpoint"
        assert job.log().splitlines()[-1] == said
        assert job.checkpoints()[-1] == f"train-{reached:08d}"
    assert not psutil.wait_procs(below, timeout=900)[1]
    return reached


def test_a_run_that_is_killed_and_stopped_goes_on_to_the_same_generator(
    undisturbed: Path, packed: tuple[str, Manifest], tmp_path: Path
) -> None:
    """Its worker killed; SIGTERM; SIGTERM to its group, as `timeout` sends it; driver and workers killed."""
    more = ("--set", "evaluate.enabled=false", "--set", "checkpoint.every_steps=2")
    job = started(command(tmp_path, packed[0], *more), tmp_path / "quickstart")
    assert job.kill("worker", random.Random(0))
    wait_for_checkpoint(job, after=3)
    reached = stop(job, job.process.terminate)
    job.start()
    wait_for_checkpoint(job, after=reached)
    reached = stop(job, lambda: os.killpg(job.process.pid, signal.SIGTERM))
    job.start()
    wait_for_checkpoint(job, after=reached)
    assert job.kill("driver and workers", random.Random(0))
    assert job.start().wait(900) == 0, job.log()
    assert "pretrain: done already" in job.log() or "nothing to do" in job.log()
    assert job.result() == (undisturbed / "generator.safetensors").read_bytes()
    steps = [line.step for line in Run(str(job.folder)).read_metrics() if line.stage == "train"]
    assert steps == [4, 8, 12]


def test_a_run_goes_on_with_other_workers_and_another_zero_stage(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    """Stopped by Ctrl-C on two workers at ZeRO 1, a newest checkpoint that is damaged, one worker at ZeRO 3."""
    more = ("--set", "evaluate.enabled=false", "--set", "train.max_steps=24")
    job = started(command(tmp_path, packed[0], *more), tmp_path / "quickstart")
    job.process.send_signal(signal.SIGINT)
    assert job.process.wait(900) == 130 and "stopped by SIGINT, with a checkpoint" in job.log()
    reached = job.checkpoints()
    assert len(reached) == 2
    damaged = job.folder / "checkpoints" / reached[-1] / "generator.safetensors"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    other = ("--workers", "1", "--set", "deepspeed.zero_stage=3")
    done = launch(command(tmp_path, packed[0], *more, *other))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"dmgan: warning: {damaged}: damaged" in done.stderr
    run = Run(str(job.folder))
    lines = [line for line in run.read_metrics() if line.stage == "train"]
    before = int(reached[0].split("-")[1])
    assert lines[-1].step == 24 and lines[-1].images == before * 8 + (24 - before) * 4
    assert lines[-1].epoch == pytest.approx(lines[-1].images / 40, abs=0.001)
    assert run.trained_steps() == 24
    state = json.loads((job.folder / "checkpoints" / "train-00000024" / "state.json").read_text())
    assert state["position"]["world_size"] == 1 and state["config"]["deepspeed"]["zero_stage"] == 3


def test_a_run_that_diverges_stops_before_a_checkpoint(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    done = launch(command(tmp_path, packed[0], "--set", "optimizer.discriminator_lr=1e38"))
    assert done.returncode == 1
    line = next(line for line in done.stderr.splitlines() if line.startswith("dmgan: "))
    folder = tmp_path / "quickstart"
    assert line.startswith("dmgan: training failed: train, step ") and " not finite; see " in line
    assert Path(line.rsplit("see ", 1)[1]).exists()
    assert not list(folder.glob("checkpoints/train-*")) and not (folder / "generator.safetensors").exists()


def test_the_workers_must_fit_the_cluster(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    done = launch(command(tmp_path, packed[0], "--workers", "500", "--set", "train.batch_size=2"))
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("dmgan: ") and ("500" in line) and "\n" not in line


def test_a_run_trained_from_a_bucket_by_one_worker(cub_source: Path, tmp_path: Path) -> None:
    """Dataset and run in a bucket; ZeRO 3; another architecture; a foreign `datasets` installed, on the workers too."""
    from datasets.packing.pack import PackOptions, pack
    from datasets.sources import cub
    from datasets.storage.local_s3 import local_s3

    foreign = tmp_path / "foreign" / "datasets"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("raise ImportError('the foreign datasets')")
    with local_s3(tmp_path / "s3"):
        url = "s3://bucket/birds"
        pack(cub.read(cub_source), url, PackOptions(resolution=64, shard_samples=9), progress=False)
        more = ["--workers", "1", "--set", "deepspeed.zero_stage=3", "--set", "model.memory=m"]
        arguments = command(Path("unused"), url, *more)
        arguments[arguments.index("--storage") + 1] = "s3://bucket/runs"
        environment = {**os.environ, "PYTHONPATH": str(foreign.parent)}
        done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        run = Run("s3://bucket/runs/quickstart")
        assert run.trained_steps() == 12 and run.has("report.html") and run.has("samples", "step_00000012.png")
        assert run.read_json("evaluation.json")["images"] == 320
