"""`ray job submit` from a fresh clone, against a real Ray cluster with dashboard and token authentication."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.faults import SMALL
from cluster.local_s3 import local_s3
from datasets import cub
from datasets.pack import PackOptions, pack
from dmgan.run import Run
from tests.ray_cluster import ROOT, RayCluster, ray_cluster

pytestmark = pytest.mark.distributed
DATA, STORAGE = "s3://bucket/birds", "s3://bucket/runs"


def small(*more: str) -> list[str]:
    sets = [*SMALL, f"data.url={DATA}", "evaluate.enabled=false", "train.log_every=2", *more]
    return [part for assignment in sets for part in ("--set", assignment)]


def until(what: Callable[[], bool], about: Callable[[], str]) -> None:
    deadline = time.monotonic() + 100
    while not what():
        assert time.monotonic() < deadline, about()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster(cub_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RayCluster, dict[str, str]]]:
    """A cluster whose nodes know how to reach a bucket with a dataset in it, which who submits does not."""
    with local_s3(tmp_path_factory.mktemp("s3")) as keys:
        pack(cub.read(cub_source), DATA, PackOptions(resolution=64, shard_samples=9), progress=False)
        # Ray kills what it has asked to stop at once, not after three seconds: no checkpoint is fast enough for that.
        with ray_cluster(keys | {"RAY_JOB_STOP_WAIT_TIME_S": "0"}) as started:
            yield started, keys


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone somebody has worked in."""
    folder = tmp_path_factory.mktemp("clone")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, files):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for clutter in (
        ".venv/lib/big.so",
        ".git/objects/big",
        "venv/big",
        "runs/quickstart/big",
        "data/big.tar",
        "netG.pth",
    ):
        (folder / clutter).parent.mkdir(parents=True, exist_ok=True)
        (folder / clutter).write_bytes(bytes(6_000_000))
    return folder


def test_a_job_is_submitted_stopped_and_goes_on(
    cluster: tuple[RayCluster, dict[str, str]], clone: Path, tmp_path: Path
) -> None:
    ray, keys = cluster
    run = Run(f"{STORAGE}/stopped")
    train = ["python", "-m", "dmgan.launch", "--storage", STORAGE, "--name", "stopped"]
    secret = ("--runtime-env-json", json.dumps({"env_vars": {"NOT_FOR_EYES_SECRET": "1"}}))
    begun = ray.submit("first", *train, *small("train.max_steps=5000"), cwd=clone, options=("--no-wait", *secret))
    assert begun.returncode == 0, begun.stdout + begun.stderr

    uploaded = next((ray.folder / "session_latest" / "runtime_resources" / "working_dir_files").glob("_ray_pkg_*/"))
    until(lambda: (uploaded / "dmgan").is_dir(), lambda: str(list(uploaded.iterdir())))
    files = [path for path in uploaded.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5_000_000
    assert {path.relative_to(uploaded).parts[0] for path in files if len(path.relative_to(uploaded).parts) > 1} == {
        "cluster",
        "datasets",
        "dmgan",
        "tune",
    }

    def log() -> str:
        return ray.job("logs", "first").stdout

    until(lambda: len(run.read_metrics()) > 4 and any(line["stage"] == "train" for line in run.read_metrics()), log)
    again = ray.submit("meanwhile", *train, *small("train.max_steps=5000"), cwd=clone)
    assert (
        again.returncode == 1 and f"{run.url}: another job of this Ray cluster is at work on this run" in again.stdout
    )
    metrics = subprocess.run(
        ["curl", "-s", f"http://127.0.0.1:{ray.metrics}/metrics"], capture_output=True, text=True, check=True
    ).stdout
    assert "ray_dmgan_images_per_second{" in metrics and 'run="stopped"' in metrics

    stopped = ray.job("stop", "first")
    assert stopped.returncode == 0 and "was stopped" in stopped.stdout + stopped.stderr
    until(lambda: "dmgan: stopped by SIGTERM" in log(), log)
    said = log()
    assert "dmgan: stopped by SIGTERM, with a checkpoint; the same command goes on from the last checkpoint" in said
    reached = run.trained_steps()
    assert 0 < reached < 5000 and run.has("checkpoints", f"train-{reached:08d}", "state.json")

    readable(said)
    assert "dmgan: warning: NOT_FOR_EYES_SECRET: is in the job's runtime environment" in said

    done = ray.submit("second", *train, *small(f"train.max_steps={reached + 2}"), cwd=clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pretrain: done already" in done.stdout
    assert run.trained_steps() == reached + 2 and run.has("report.html")
    logs = {path: path.read_bytes() for path in ray.logs()}
    shown = ray.job("list").stdout + done.stdout + done.stderr + said
    for secret_key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert not [path for path, content in logs.items() if keys[secret_key].encode() in content]
        assert keys[secret_key] not in shown


def readable(log: str) -> None:
    """Lines of text: nothing drawn over and over, no colours, none of them long, no stack of calls."""
    own = log.split("Running entrypoint", 1)[1].splitlines()[1:]
    assert not any("\r" in line or "\x1b" in line or len(line) > 200 for line in own), own
    assert len(own) < 60 and "Traceback" not in log
    assert any(line.strip().startswith("train: ") for line in own)
