"""The service as a command: a Ray Serve of this machine, or of the cluster of RAY_ADDRESS, until Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace

import requests

from cluster.driver.resources import ClusterError, connect
from cluster.driver.watch import watched
from cluster.serving.access import ServingError, check_address, read_token
from cluster.serving.runs import ServedRun, served_runs
from dmgan.config import with_values

__all__ = ["serve_runs"]

_APPLICATION = "dmgan"
_QUIET = {"log_level": "WARNING", "enable_access_log": False}
_READY_SECONDS = 600.0
# Of Ray Serve, as it starts: it gives its own processes 5 s, and replaces those that a busy machine starts more slowly.
_PATIENCE = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60", "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60"}


class _EndedError(Exception):
    """A signal ended the service."""


def serve_runs(
    names: Sequence[str], folder: str, overrides: Sequence[str], host: str, port: int, metrics_port: int
) -> None:
    """Serve these runs at `host`:`port`, and say so in a line when they draw; returns after Ctrl-C or SIGTERM.

    What cannot be served is said before Ray starts. Raises ServingError, ClusterError, ConfigError, StorageError.
    """
    token = read_token()
    check_address(host, token)
    for name, number in (("--port", port), ("--metrics-port", metrics_port)):
        _check_port(name, number, host if name == "--port" else "127.0.0.1")
    runs = served_runs(names, folder, overrides)
    _check_weights(runs)
    own = not os.environ.get("RAY_ADDRESS")
    for variable, value in _PATIENCE.items():
        os.environ.setdefault(variable, value)
    with suppress(_EndedError), _ended_by_signals() as take_signals:
        try:
            connect(own, metrics_port=metrics_port)
            take_signals()  # which Ray took
            with watched("the same command serves again") if own else nullcontext():
                _deploy(_with_shares(runs) if own else runs, host, port, token is None)
                _wait_until_ready(host, port)
                shown = f"[{host}]" if ":" in host else host
                print(f"{', '.join(names)}: draws at http://{shown}:{port}; Ctrl-C ends it", flush=True)
                threading.Event().wait()
        finally:
            _end(own)


def _check_port(name: str, port: int, host: str) -> None:
    """Raise ServingError where nothing can listen there."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)  # create_server adds to the message
        said = str(error) if number is None else os.strerror(number)
        raise ServingError(f"{name} {port}: cannot listen at {host}: {said}; expected a free port") from None


def _check_weights(runs: Sequence[ServedRun]) -> None:
    """Raise ConfigError for weights that are damaged: a replica would try to load them again and again."""
    from dmgan import TextToImage

    for run in runs:
        TextToImage.from_run(run.url, device="cpu")


@contextmanager
def _ended_by_signals() -> Iterator[Callable[[], None]]:
    """Signals to stop raise _EndedError within; what is yielded takes them again from who took them meanwhile."""

    def end(number: int, frame: object) -> None:
        for each in before:  # the end itself is not to be ended, unless by SIGKILL
            signal.signal(each, signal.SIG_IGN)
        raise _EndedError

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # nohup
        del before[signal.SIGHUP]

    def take() -> None:
        for number in before:
            signal.signal(number, end)

    try:
        take()
        yield take
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _with_shares(runs: Sequence[ServedRun]) -> list[ServedRun]:
    """The runs with this machine's cores and GPUs shared out evenly, where a run does not say how many."""
    import ray

    there = ray.cluster_resources()
    replicas = sum(run.settings.most_replicas for run in runs)
    cores, gpus = there.get("CPU", 1.0) / replicas, there.get("GPU", 0.0) / replicas
    # Whole ones where there is more than one: a thread is on one core, and Ray gives whole GPUs.
    share = {
        "cpus_per_replica": float(int(cores)) if cores >= 1 else cores,
        "gpus_per_replica": 1.0 if gpus >= 1 else gpus,
    }
    shared = []
    for run in runs:
        unset = {f"serve.{key}": value for key, value in share.items() if getattr(run.settings, key) is None}
        shared.append(replace(run, config=with_values(run.config, unset)))
    for kind, key in (("CPU", "cpus_per_replica"), ("GPU", "gpus_per_replica")):
        wanted = sum(run.settings.replicas * getattr(run.settings, key) for run in shared)
        if wanted > there.get(kind, 0.0) + 1e-6:
            raise ServingError(
                f"serve.{key}: {wanted:g} {kind}s for the replicas of all runs, this machine has {there.get(kind, 0):g}"
            )
    return shared


def _deploy(runs: Sequence[ServedRun], host: str, port: int, is_open: bool) -> None:
    from ray import serve
    from ray.exceptions import RayActorError

    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # its news of starting
    from cluster.serving.application import Arguments, application

    if serve.status().proxies:
        raise ClusterError(
            f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS')}: Ray Serve runs there already; add the application to its "
            "config (docs/serving.md)"
        )
    with suppress(TimeoutError, RayActorError):  # a proxy that is slow to start, which is waited for below
        serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port}, logging_config=_QUIET)
    try:
        arguments = Arguments(names=[run.name for run in runs], open=is_open)
        serve.run(application(runs, arguments), name=_APPLICATION, logging_config=_QUIET)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise ClusterError(f"the models do not start: {said}") from error


def _wait_until_ready(host: str, port: int) -> None:
    """Raises ClusterError where the service does not answer."""
    where = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    session = requests.Session()
    session.trust_env = False  # no proxy is between
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        with suppress(requests.RequestException):
            if session.get(f"http://{where}:{port}/healthz", timeout=30).ok:
                return
        time.sleep(1.0)
    raise ClusterError(f"http://{where}:{port}/healthz: no answer that all models are ready in {_READY_SECONDS:.0f} s")


def _end(own: bool) -> None:
    """Nothing of the service stays; a cluster of our own goes with it."""
    import ray
    from ray import serve

    if ray.is_initialized() and not own:
        serve.shutdown()
    ray.shutdown()
