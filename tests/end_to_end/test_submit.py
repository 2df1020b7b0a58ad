"""Submitted jobs against real Ray clusters with dashboard and token authentication: from a clone, and as the RayJobs of
k8s/ say it, with their entrypoints and environment read off the built manifests."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.faults import SMALL
from datasets.packing.pack import PackOptions, pack
from datasets.sources import cub
from datasets.storage.local_s3 import local_s3
from dmgan.runs.run import Run
from tests.k8s.manifests import JOBS, build, deployed, one, pod_templates
from tests.ray_cluster import ROOT, RayCluster, ray_cluster

pytestmark = pytest.mark.distributed
Keys = dict[str, str]


def smaller(*more: str) -> list[str]:
    """What a test's two CPUs can do, after what an entrypoint says."""
    sets = [*SMALL, "model.base_size=16", "model.image_encoder=compact", "train.log_every=2", "data.draw_birds=false"]
    sets += ["train.accelerator=cpu", "evaluate.features=damsm", "evaluate.images=20", *more]
    return [part for assignment in sets for part in ("--set", assignment)]


def until(what: Callable[[], bool], about: Callable[[], str]) -> None:
    deadline = time.monotonic() + 900
    while not what():
        assert time.monotonic() < deadline, about()
        time.sleep(0.5)


@pytest.fixture(scope="module")
def keys(cub_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    """Of a bucket with the datasets that the manifests name, as the Secret dmgan-s3 would hold them."""
    with local_s3(tmp_path_factory.mktemp("s3")) as variables:
        for name in ("drawn-birds", "cub", "coco"):
            pack(
                cub.read(cub_source), f"s3://dmgan/{name}", PackOptions(resolution=64, shard_samples=9), progress=False
            )
        yield variables


def pods_environment(overlay: str, keys: Keys) -> Keys:
    """What the head and the workers of a RayJob have in their environment: its ConfigMap, the Secret, the image's."""
    objects = deployed(overlay)
    found: list[Keys] = []
    for _, template in pod_templates(one(objects, "RayJob")["spec"]["rayClusterSpec"], "spec"):
        (container,) = template["spec"]["containers"]
        variables: Keys = {}
        for source in container["envFrom"]:
            if "configMapRef" in source:
                config = one(objects, "ConfigMap")
                assert source["configMapRef"]["name"] == config["metadata"]["name"]
                variables |= config["data"]
            else:
                assert source["secretRef"]["name"] == "dmgan-s3"
                variables |= keys
        found.append(variables)
    assert found[0] == found[1]
    dockerfile = (ROOT / "k8s" / "Dockerfile").read_text()
    assert "ENV PYTHONPATH=/home/ray/dmgan\n" in dockerfile and "WORKDIR /home/ray/dmgan\n" in dockerfile
    # `python` is this one, as it is the image's there.
    return found[0] | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone somebody has worked in."""
    folder = tmp_path / "clone"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(lambda name: name and (ROOT / name).exists(), files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    clutter = (".venv/lib/a.so", ".git/objects/a", "venv/a", "runs/quickstart/a", "data/a.tar", "netG.pth")
    for name in clutter:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(6_000_000))
    return folder


@pytest.fixture
def pods_tmp() -> Iterator[str]:
    """A temporary folder of its own, with a short name: Ray's dashboard has sockets in it."""
    with tempfile.TemporaryDirectory(prefix="pod-", dir="/tmp") as folder:
        yield folder


def trains(run: Run, after: int = 0) -> bool:
    return any(line.stage == "train" and line.step > after for line in run.read_metrics())


def stopped_with_a_checkpoint(run: Run, ray: RayCluster, job: str) -> int:
    """The step of the checkpoint, when the driver has written it."""
    until(lambda: "dmgan: stopped by" in ray.job("logs", job).stdout, lambda: ray.job("logs", job).stdout)
    # SIGHUP where Ray's SIGKILL came before the job's process could hand SIGTERM on.
    said = r"dmgan: stopped by SIG(TERM|HUP), with a checkpoint; the same command goes on from the last checkpoint\n"
    assert re.search(said, ray.job("logs", job).stdout)
    reached = run.trained_steps()
    assert run.has("checkpoints", f"train-{reached:08d}", "state.json")
    return reached


def test_a_run_from_a_clone_is_stopped_loses_its_cluster_is_drained_and_finishes(
    keys: Keys, clone: Path, pods_tmp: str
) -> None:
    overlay = "overlays/local"
    own_folder = {"TMPDIR": pods_tmp}  # what is drained shares it
    entrypoint = shlex.split(one(build(overlay), "RayJob")["spec"]["entrypoint"])
    environment, run = pods_environment(overlay, keys) | own_folder, Run("s3://dmgan/runs/quickstart")
    long = smaller("train.max_steps=3000")
    with ray_cluster(environment) as ray:
        # Ray kills what it has asked to stop at once, not after seconds: no checkpoint is fast enough for that.
        variables = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "0", "NOT_FOR_EYES_SECRET": "1"}}
        options = ("--no-wait", "--runtime-env-json", json.dumps(variables))
        begun = ray.submit("first", *entrypoint, *long, cwd=clone, options=options)
        assert begun.returncode == 0, begun.stdout + begun.stderr
        until(lambda: trains(run), lambda: ray.job("logs", "first").stdout)
        check_upload(ray)  # whole by now: a job starts when its folder is unpacked
        check_metrics(ray)
        again = ray.submit("meanwhile", *entrypoint, *long, cwd=clone)
        assert again.returncode == 1 and f"dmgan: {run.url}: " in again.stdout
        assert "is at work on this run; wait for it or choose --name" in again.stdout
        done = ray.job("stop", "first")
        assert done.returncode == 0 and "was stopped" in done.stdout + done.stderr
        first = stopped_with_a_checkpoint(run, ray, "first")
        check_logs(ray, keys, begun.stdout + begun.stderr)
    with ray_cluster(environment) as ray:  # the other is gone; the RayJob makes a new one
        assert as_rayjob(ray, "second", [*entrypoint, *long], wait=False).returncode == 0
        until(lambda: trains(run, first), lambda: ray.job("logs", "second").stdout)
        (head, *_) = pod_templates(one(build(overlay), "RayJob")["spec"]["rayClusterSpec"], "spec")
        drain = head[1]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert drain[0] == "python"
        of_pod = ray.environment | environment
        worker = subprocess.Popen([sys.executable, *drain[1:-1], "worker"], cwd=ROOT, env=of_pod)
        time.sleep(3)
        assert worker.poll() is None  # it waits for training here to end
        left = subprocess.run([sys.executable, *drain[1:]], cwd=ROOT, env=of_pod, timeout=900, check=False)
        assert left.returncode == 0 and worker.wait(900) == 0
        second = stopped_with_a_checkpoint(run, ray, "second")
        assert second > first
        ended = ray.job("status", "second").stdout  # failed, not stopped, so that KubeRay tries again
        assert "failed with exit code 143" in ended, ended
        finished = as_rayjob(ray, "third", [*entrypoint, *smaller(f"train.max_steps={second + 2}")])
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert "pretrain: done already" in finished.stdout and "[5/5] report: " in finished.stdout
        assert run.trained_steps() == second + 2 and run.has("report.html") and run.has("evaluation.json")
        for overlay in JOBS:
            if overlay != "overlays/local":
                assert pods_environment(overlay, keys) | own_folder == environment
                run_to_its_end(ray, overlay, clone)


def as_rayjob(ray: RayCluster, name: str, entrypoint: list[str], wait: bool = True) -> subprocess.CompletedProcess[str]:
    """As KubeRay's submitter does it: nothing is uploaded, the code is the image's."""
    more = () if wait else ("--no-wait",)
    return ray.job("submit", "--submission-id", name, *more, "--", *entrypoint)


def run_to_its_end(ray: RayCluster, overlay: str, folder: Path) -> None:
    entrypoint = shlex.split(one(build(overlay), "RayJob")["spec"]["entrypoint"])
    name = entrypoint[entrypoint.index("--name") + 1]
    entrypoint[entrypoint.index("--workers") + 1] = "2"
    assert {"--set", "data.cache_dir=/cache", f"data.url=s3://dmgan/{name}"} <= set(entrypoint)
    few = smaller(
        "train.max_steps=2", "pretrain.max_steps=2", "evaluate.enabled=false", f"data.cache_dir={folder}/cache"
    )
    done = as_rayjob(ray, name, [*entrypoint, *few])
    assert done.returncode == 0, done.stdout + done.stderr
    run = Run(f"s3://dmgan/runs/{name}")
    assert run.trained_steps() == 2 and run.has("report.html")
    assert run.read_config().objective.lambda_damsm == {"cub": 5, "coco": 50}[name]
    assert run.read_config().train.max_failures == 100 and list((folder / "cache").rglob("*.tar"))


def check_upload(ray: RayCluster) -> None:
    folders = ray.folder / "session_latest" / "runtime_resources" / "working_dir_files"
    (uploaded,) = (path.parent for path in folders.glob("_ray_pkg_*/dmgan"))
    files = [path.relative_to(uploaded) for path in uploaded.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum((uploaded / path).stat().st_size for path in files) < 5_000_000
    assert {path.parts[0] for path in files if len(path.parts) > 1} == {"cluster", "datasets", "dmgan", "tune"}
    assert not [path for path in files if path.suffix in (".pth", ".tar")]


def check_metrics(ray: RayCluster) -> None:
    """All that the Grafana dashboard shows of ours is where Prometheus looks."""
    dashboard = (ROOT / "k8s" / "monitoring" / "dashboard.json").read_text()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def scraped() -> str:
        return str(opener.open(f"http://127.0.0.1:{ray.metrics}/metrics", timeout=20).read().decode())

    wanted = set(re.findall(r"ray_dmgan_\w+", dashboard))
    until(lambda: wanted <= set(re.findall(r"ray_dmgan_\w+", scraped())), scraped)
    of_training = re.compile(r'ray_dmgan_step\{[^}]*run="quickstart"[^}]*stage="train"')
    until(lambda: of_training.search(scraped()) is not None, scraped)


def check_logs(ray: RayCluster, keys: Keys, said: str) -> None:
    """Readable, and without credentials: of the job, in Ray's own logs and in what it tells of jobs."""
    log = ray.job("logs", "first").stdout
    own = log.split("Running entrypoint", 1)[1].splitlines()[1:]
    assert not any("\r" in line or "\x1b" in line or len(line) > 200 for line in own), own
    assert len(own) < 60 and "Traceback" not in log, own
    assert any(re.match(r" +train: \d+ of 3000 steps, .* images/s$", line) for line in own), own
    assert "dmgan: warning: NOT_FOR_EYES_SECRET: is in the job's runtime environment" in log
    shown = log + said + ray.job("list").stdout
    for secret in (keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], ray.environment["RAY_AUTH_TOKEN"]):
        assert secret not in shown
        assert not [path for path in ray.logs() if secret.encode() in path.read_bytes()]
