"""A Ray cluster over three hosts: network namespaces with addresses of their own on a bridge."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from datasets.manifest import Manifest
from dmgan.runs.run import Run
from tests.end_to_end.test_main_job import ROOT, command

pytestmark = pytest.mark.distributed
HOSTS = {"head": "10.77.3.1", "one": "10.77.3.2", "two": "10.77.3.3"}
SWITCH, NAMESPACE = f"dmgan-{os.getpid()}-switch", f"dmgan-{os.getpid()}"  # an ended run may have left its own
ADDRESS = f"{HOSTS['head']}:6379"
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "GLOO_SOCKET_IFNAME": "eth0",  # the hosts share a name, which would lead to the loopback
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
}


def ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


def connect(*arguments: str) -> None:
    done = ip(*arguments)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


def inside(host: str, arguments: list[str], **variables: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | ENVIRONMENT | variables
    full = ["ip", "netns", "exec", f"{NAMESPACE}-{host}", *arguments]
    return subprocess.Popen(
        full, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ray_start(host: str, *more: str, private: Path | None = None) -> None:
    """On `private` the host has another file system than the others."""
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={HOSTS[host]}", *more]
    # Object stores and ports are of the whole machine or of a host each; everything else is as on three machines.
    start += ["--object-store-memory=100000000", "--disable-usage-stats"]
    if private is not None:
        start = ["sh", "-c", f"mount -t tmpfs none {private} && exec {shlex.join(start)}"]
    done = inside(host, start)
    output, _ = done.communicate(timeout=900)
    assert done.returncode == 0, output


def end_host(host: str) -> None:
    for pid in ip("netns", "pids", f"{NAMESPACE}-{host}").stdout.split():
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(pid)).kill()


@pytest.fixture
def hosts() -> Iterator[None]:
    if shutil.which("ip") is None or ip("netns", "add", SWITCH).returncode != 0:
        pytest.skip("needs the right to make network namespaces")
    short = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    try:
        connect("-n", SWITCH, "link", "add", "bridge", "type", "bridge")
        connect("-n", SWITCH, "link", "set", "bridge", "up")
        for host, address in HOSTS.items():
            space = f"{NAMESPACE}-{host}"
            connect("netns", "add", space)
            connect("-n", SWITCH, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", space)
            connect("-n", SWITCH, "link", "set", host, "master", "bridge", "up")
            connect("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            connect("-n", space, "link", "set", "eth0", "up")
            connect("-n", space, "link", "set", "lo", "up")
        # A folder of its own, whose path is short enough for sockets: others would take the cluster for theirs.
        more = ["--port=6379", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={short}"]
        ray_start("head", "--head", *more)
        ray_start("one", f"--address={ADDRESS}", "--num-cpus=1")
        yield
    finally:
        for host in HOSTS:
            end_host(host)
            ip("netns", "del", f"{NAMESPACE}-{host}")
        ip("netns", "del", SWITCH)
        shutil.rmtree(short, ignore_errors=True)


def test_training_over_two_nodes_goes_on_when_one_is_cut_off(
    hosts: None, packed: tuple[str, Manifest], tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    early = inside("head", command(private, packed[0]), RAY_ADDRESS=ADDRESS)
    assert early.stdout is not None
    said = ""
    while "waiting for 2 CPUs, the Ray cluster has 1\n" not in said:
        line = early.stdout.readline()
        assert line, said  # it has ended
        said += line
    ray_start("two", f"--address={ADDRESS}", "--num-cpus=1", private=private)
    output, _ = early.communicate(timeout=900)
    assert early.returncode == 2, output
    assert f"dmgan: {private / 'quickstart'}: is not the same folder on node {HOSTS['two']}; expected one" in output
    assert not (private / "quickstart" / "run.yaml").exists()
    more = ["evaluate.enabled=false", "train.max_steps=60", "train.min_workers=1", "train.log_every=1"]
    sets = [part for assignment in more for part in ("--set", assignment)]
    job = inside("head", command(tmp_path, packed[0], *sets), RAY_ADDRESS=ADDRESS)
    run = Run(str(tmp_path / "quickstart"))
    deadline = time.monotonic() + 900
    while not list((tmp_path / "quickstart").glob("checkpoints/train-*/state.json")):
        assert job.poll() is None and time.monotonic() < deadline, job.communicate()[0]
        time.sleep(0.05)
    connect("-n", SWITCH, "link", "set", "two", "down")  # the cable, not the machine
    output, _ = job.communicate(timeout=900)
    assert job.returncode == 0, output
    lines = [line for line in run.read_metrics() if line.stage == "train"]
    assert [line.step for line in lines] == list(range(1, 61))
    sizes = [b.images - a.images for a, b in pairwise(lines)]
    changed = sizes.index(4)  # one worker's images a step, where two had 8
    assert changed >= 3 and set(sizes[:changed]) == {8} and set(sizes[changed:]) == {4}
    assert run.trained_steps() == 60 and run.has("report.html")
