"""A Ray cluster of one node with the dashboard and token authentication on, as `ray start --head` makes it."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


def ray(*arguments: str, environment: dict[str, str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ray.scripts.scripts", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900, check=False)


@dataclass(frozen=True)
class RayCluster:
    """`environment` is what a person elsewhere needs to talk to it: where it is and its token, nothing of storage."""

    environment: dict[str, str]
    folder: Path  # Ray's own: logs, uploads
    metrics: int  # port

    def job(self, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """ray job …"""
        return ray("job", *arguments, environment=self.environment, cwd=cwd)

    def submit(
        self, name: str, *entrypoint: str, cwd: Path = ROOT, options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """ray job submit --working-dir . -- …, with this Python as `python`."""
        python = [sys.executable, *entrypoint[1:]] if entrypoint[0] == "python" else list(entrypoint)
        return self.job("submit", "--working-dir", ".", "--submission-id", name, *options, "--", *python, cwd=cwd)

    def logs(self) -> Iterator[Path]:
        return (path for path in (self.folder / "session_latest" / "logs").rglob("*") if path.is_file())


def free_ports(count: int) -> list[int]:
    """Below those that the system gives to connections, one of which would take a port before Ray does."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
            found.append(port)
        except OSError:
            continue
    return found


@contextmanager
def ray_cluster(nodes_environment: dict[str, str]) -> Iterator[RayCluster]:
    """`nodes_environment` is what the nodes of the cluster have beside this process's, such as credentials."""
    base = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RAY_"))}
    base |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-the-tests"}
    # The dashboard gives each of its processes 30 s to come up, and ends for good where one of them takes longer, as
    # on a busy machine; `ray start` waits 60 s for it.
    base |= {"RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "600", "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "700"}
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: sockets are below it
    port, dashboard, agent, metrics = free_ports(4)
    start = ["start", "--head", f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={folder}"]
    start += [f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}", "--num-cpus=2"]
    start += ["--object-store-memory=200000000", "--node-ip-address=127.0.0.1"]
    start += ["--include-dashboard=true"]  # so that `ray start` fails, with its log, where it does not come up
    try:
        done = ray(*start, environment=base | nodes_environment)
        assert done.returncode == 0, done.stdout + done.stderr
        where = {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
        yield RayCluster(base | where, folder, metrics)
    finally:
        _end(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end(folder: Path) -> None:
    """Every process of this cluster, and of no other."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or ()):
            process.kill()
