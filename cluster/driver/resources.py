"""The Ray cluster of a job: its own or one that is there, with room for the workers and storage in common."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.driver.watch import watched
from cluster.placement import on_node, on_our_own, uses_gpus
from datasets import storage
from datasets.errors import UserError
from datasets.ray_address import problem_of
from datasets.terminal import has_colour
from dmgan.allocator import keeping_freed_memory
from dmgan.config import Config

__all__ = ["ClusterError", "connect", "ray_cluster"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SAY_SECONDS = 30.0
_STARTS = 3  # of a Ray cluster of our own


class ClusterError(UserError):
    """The Ray cluster cannot run the job; one line."""


@contextmanager
def ray_cluster(
    config: Config, run_url: str, *, spare_cpus: int = 0, dashboard: bool = False, needs_dataset: bool = True
) -> Iterator[None]:
    """A Ray cluster with room for the workers: that of RAY_ADDRESS, else one of this process's own.

    Every node must see the run and, if needed, the dataset, where those are in folders. A cluster of our own has
    `spare_cpus` beside those of the machine, and a `dashboard` if asked for. One that is there may still be starting or
    growing: `train.wait_seconds` are waited for it. Raises ClusterError.
    """
    import ray

    own = not ray.is_initialized() and on_our_own()
    if not ray.is_initialized():
        connect(own, spare_cpus=spare_cpus, dashboard=dashboard)
    try:
        _wait_for_room(config, 0.0 if own else config.train.wait_seconds)
        if own:
            with watched():
                yield
            return
        _check_shared(run_url, config.data.url if needs_dataset else run_url)
        yield
    finally:
        ray.shutdown()


def connect(own: bool, *, spare_cpus: int = 0, dashboard: bool = False, metrics_port: int | None = None) -> None:
    """Connect this process to a Ray cluster of its `own`, which ends with it, or to that of RAY_ADDRESS.

    A cluster of our own has `spare_cpus` beside those of the machine, a `dashboard` if asked for, and metrics for
    Prometheus on `metrics_port`; its processes keep freed memory (`dmgan.allocator`). Raises ClusterError.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not has_colour(sys.stderr):
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    # Without RAY_ADDRESS a cluster of our own: not whatever was started last on this machine and may be gone.
    options: dict[str, Any] = {}
    if own:
        options = {"address": "local", "include_dashboard": dashboard}
        if metrics_port is not None:
            options["_metrics_export_port"] = metrics_port
        if spare_cpus:  # of Ray's account: they wait for others
            options["num_cpus"] = (os.cpu_count() or 1) + spare_cpus
    address = os.environ.get("RAY_ADDRESS", "")
    if not own and (problem := problem_of(address)) is not None:
        raise ClusterError(f"RAY_ADDRESS={address}: {problem}")
    try:
        with _own_sessions(), _variables(keeping_freed_memory() if own else {}):
            _start(options, _STARTS if own else 1)
    except Exception as error:  # of a Ray that does not start, of an address that it refuses: it raises many kinds
        said = " ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split())[:200]
        if own:
            where = f" in {folder}" if (folder := os.environ.get("RAY_TMPDIR")) else ""
            raise ClusterError(f"Ray does not start on this machine{where}: {said}") from error
        raise ClusterError(f"RAY_ADDRESS={address}: no Ray cluster answers there: {said}") from error


def _start(options: dict[str, Any], attempts: int) -> None:
    """Ray waits 30 s for its own processes, which a busy machine may take longer to start."""
    import ray

    try:
        ray.init(logging_level="ERROR", log_to_driver=False, **options)
    except Exception as error:
        if attempts == 1 or "timed out" not in str(error):
            raise
        ray.shutdown()
        _start(options, attempts - 1)


@contextmanager
def _own_sessions() -> Iterator[None]:
    """Ray processes started within get sessions of their own.

    A signal to the driver's process group (`timeout`, SLURM, Ctrl-C) then reaches the driver alone, which writes a
    checkpoint with their help. Ray has no option for it; that they end with the driver is its own doing (Linux).
    """
    from ray._private import services

    class Apart(services.ConsolePopen):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "start_new_session": True})

    before = services.ConsolePopen
    services.ConsolePopen = Apart
    try:
        yield
    finally:
        services.ConsolePopen = before


@contextmanager
def _variables(added: dict[str, str]) -> Iterator[None]:
    """Processes started within have these in their environment, which this process has not afterwards."""
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _wait_for_room(config: Config, seconds: float) -> None:
    """Until the cluster holds the fewest workers that will do; an autoscaler is asked for all of them together."""
    import ray
    from ray.util import placement_group, remove_placement_group

    kind = "GPU" if uses_gpus(config) else "CPU"
    workers = config.train.fewest_workers

    def there() -> int:
        return int(ray.cluster_resources().get(kind, 0))

    if there() >= workers:
        return
    if seconds:
        bundle = {"CPU": 1.0, "GPU": 1.0} if kind == "GPU" else {"CPU": 1.0}
        places = placement_group([bundle] * workers, strategy="PACK")
        until, since = time.monotonic() + seconds, time.monotonic()
        print(f"      waiting for {workers} {kind}s, the Ray cluster has {there()}", flush=True)
        while time.monotonic() < until and not places.wait(min(_SAY_SECONDS, max(1.0, until - time.monotonic()))):
            print(f"      {time.monotonic() - since:.0f} s: {there()} of {workers} {kind}s", flush=True)
        remove_placement_group(places)  # Ray Train and the evaluation have their own
    if there() < workers:
        waited = f" after {seconds:.0f} s (train.wait_seconds)" if seconds else ""
        raise ClusterError(
            f"train.workers={config.train.workers}: each worker needs one {kind}, the Ray cluster has {there()}{waited}"
        )


def _check_shared(run_url: str, data_url: str) -> None:
    """Raise ClusterError where a node does not see a folder, or cannot reach the S3 server of this machine."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    others = [n for n in ray.nodes() if n["Alive"] and n["NodeID"] != here and n["Resources"].get("CPU", 0)]
    if not others:
        return
    endpoint = storage.s3_endpoint() or ""
    if not (storage.is_local(run_url) and storage.is_local(data_url)) and urlsplit(endpoint).hostname in _LOOPBACK:
        raise ClusterError(
            f"AWS_ENDPOINT_URL={endpoint}: only this node reaches it, the Ray cluster has {len(others)} more; expected "
            "an S3 server that all reach"
        )
    # A file that is made now shows that the folder is the same one; a dataset need only be there.
    files = {data_url: Path(data_url) / "manifest.json"}
    files[run_url] = Path(run_url) / f".seen-{uuid.uuid4().hex}"
    files = {folder: file for folder, file in files.items() if storage.is_local(folder)}
    try:
        if run_url in files:
            files[run_url].touch()
        for node in others:
            look = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=on_node(node["NodeID"]))(_visible)
            for folder, seen in zip(files, ray.get(look.remote(list(files.values()))), strict=True):
                if not seen:
                    raise ClusterError(
                        f"{folder}: is not the same folder on node {node['NodeManagerAddress']}; expected one that all "
                        f"{len(others) + 1} nodes of the Ray cluster share, or s3://bucket/path"
                    )
    finally:
        if run_url in files:
            files[run_url].unlink(missing_ok=True)


def _visible(paths: list[Path]) -> list[bool]:
    return [path.exists() for path in paths]
