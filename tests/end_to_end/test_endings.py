"""However a driver ends, it says so in one line, and nothing of it is left running."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.faults import Job
from datasets.manifest import Manifest
from dmgan.runs.run import Run
from tests.end_to_end.test_main_job import ROOT, command, launch

pytestmark = pytest.mark.distributed


@pytest.fixture
def started() -> Iterator[Callable[[list[str], Path], Job]]:
    """Start a job of which a checkpoint is there."""
    jobs: list[Job] = []

    def start(arguments: list[str], storage: Path) -> Job:
        jobs.append(Job(arguments, storage / "quickstart"))
        deadline = time.monotonic() + 900
        while not jobs[-1].checkpoints():
            assert time.monotonic() < deadline and jobs[-1].process.poll() is None, jobs[-1].log()
            time.sleep(0.05)
        return jobs[-1]

    yield start
    for job in jobs:
        job.process.kill()


def below(process: int, name: str) -> list[psutil.Process]:
    found = psutil.Process(process).children(recursive=True)
    return [child for child in found if child.is_running() and Path((child.cmdline() or [""])[0]).name == name]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(("part", "name"), [("raylet", "raylet"), ("gcs_server", "GCS")])
def test_a_lost_part_of_ray_ends_the_job_in_one_line(
    packed: tuple[str, Manifest], tmp_path: Path, started: Callable[[list[str], Path], Job], part: str, name: str
) -> None:
    arguments = command(tmp_path, packed[0], "--set", "train.max_steps=3000", "--set", "train.workers=1")
    job = started(arguments, tmp_path)
    everything = [p.pid for p in psutil.Process(job.process.pid).children(recursive=True)]
    (lost,) = below(job.process.pid, part)
    lost.kill()
    assert job.process.wait(900) == 1
    said = [line for line in job.log().splitlines() if line.startswith("dmgan: ")]
    assert said == [f"dmgan: Ray's {name} was ended by SIGKILL; the same command goes on from the last checkpoint"]
    deadline = time.monotonic() + 900
    while left := [pid for pid in everything if runs(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_a_second_driver_is_refused_and_a_node_that_goes_asks_for_a_checkpoint(
    packed: tuple[str, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # whose notices are for this training alone
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # of sockets, whose paths must be short
    never = ("--set", "checkpoint.every_steps=100000", "--set", "train.max_steps=100000")
    (tmp_path / "runs").mkdir()
    job = Job(command(tmp_path / "runs", packed[0], *never), tmp_path / "runs" / "quickstart")
    try:
        run, deadline = Run(str(job.folder)), time.monotonic() + 900
        while not any(line.stage == "train" for line in run.read_metrics()):
            assert time.monotonic() < deadline and job.process.poll() is None, job.log()
            time.sleep(0.2)
        check_second_driver(job, command(tmp_path / "runs", packed[0], *never[:2], "--set", "train.max_steps=2000"))
        assert run.read_config().train.max_steps == 100000
        assert not job.checkpoints()
        training = [p for p in psutil.Process(job.process.pid).children(recursive=True) if "TrainWorker" in p.name()]
        assert len(training) == 2 and all(p.environ()["MALLOC_ARENA_MAX"] == "1" for p in training)
        drain = subprocess.Popen([sys.executable, "-m", "cluster.drain", "worker"], cwd=ROOT)
        while not job.checkpoints():
            assert time.monotonic() < deadline and job.process.poll() is None, job.log()
            time.sleep(0.2)
        assert drain.poll() is None  # the training goes on
        job.process.terminate()
        assert job.process.wait(900) == 143 and drain.wait(900) == 0
        assert len(job.checkpoints()) == 2  # one when it was asked, one at the end
    finally:
        job.process.kill()


def check_second_driver(job: Job, arguments: list[str]) -> None:
    second = launch(arguments)
    assert second.returncode == 2
    (line,) = [line for line in second.stderr.splitlines() if line.startswith("dmgan: ")]
    assert f"process {job.process.pid}, since " in line and "is at work on this run; wait for it" in line


def test_a_full_disk_ends_the_job_at_once(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    """A folder in which nothing can be written any more stands for it: root may write what is read-only."""
    arguments = command(tmp_path, packed[0], "--set", "train.workers=1", "--set", "train.max_failures=5")
    run = tmp_path / "quickstart"
    run.mkdir()
    (run / "checkpoints").symlink_to("/proc/self")  # where nobody can make a folder
    done = launch(arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("dmgan: ")]
    assert len([line for line in said if line.startswith("dmgan: training failed: ")]) == 1, said
    assert sum("Ray Train starts all again" in line for line in said) <= 1


def start(**environment: str) -> tuple[subprocess.CompletedProcess[str], float]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RAY_ADDRESS"))}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", f"from cluster.driver.resources import ray_cluster\n{CONNECT}"],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    return done, time.monotonic() - began


CONNECT = """
from datasets.errors import run_command
from dmgan.config import load_config
def connect():
    with ray_cluster(load_config(None, ["train.workers=1"]), "/tmp"):
        return 0
raise SystemExit(run_command("dmgan", connect))
"""


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:9", "no Ray cluster answers there"),
        ("ray://127.0.0.1:9", "no Ray cluster answers there"),
        ("nowhere.invalid:6379", "no Ray cluster answers there"),
        ("http://127.0.0.1:8265", "expected HOST:PORT"),
        ("127.0.0.1", "expected HOST:PORT"),
        ("127.0.0.1:99999", "expected HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_named_in_seconds(address: str, reason: str) -> None:
    done, seconds = start(RAY_ADDRESS=address)
    assert done.returncode == 2 and seconds < 60, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"dmgan: RAY_ADDRESS={address}: ") and reason in line


def test_a_folder_in_which_ray_cannot_start_is_named() -> None:
    done, _ = start(RAY_TMPDIR="/proc/nowhere")
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("dmgan: ")]
    assert len(lines) == 1 and "Ray does not start on this machine in /proc/nowhere: " in lines[0]
    assert "Traceback" not in done.stderr
