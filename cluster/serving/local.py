"""The service as a command: models on a Ray Serve of this machine, or of the cluster of RAY_ADDRESS, until Ctrl-C.

HTTP is spoken by this process, which hands requests to the replicas itself.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from cluster.driver.resources import ClusterError, connect
from cluster.driver.watch import watched
from cluster.placement import on_our_own
from cluster.serving.access import ServingError, check_address, read_token
from cluster.serving.runs import ServedRun, served_runs
from dmgan.config import with_values

__all__ = ["serve_runs"]

_QUIET = {"log_level": "WARNING", "enable_access_log": False}
_LAST_SECONDS = 5  # in which requests under way are answered when it ends


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
    _listening("--port", port, host).close()
    _listening("--metrics-port", metrics_port, "127.0.0.1").close()
    runs = served_runs(names, folder, overrides)
    _check_weights(runs)
    from cluster.serving.application import http_application

    own, number = on_our_own(), uuid.uuid4().hex[:8]
    applications = [f"dmgan-{number}-{i}" for i in range(len(runs))]
    with suppress(_EndedError), _ended_by_signals() as take_signals:
        try:
            connect(own, metrics_port=metrics_port)
            take_signals()  # which Ray took
            with watched("the same command serves again") if own else nullcontext():
                shared = _with_shares(runs) if own else runs
                handles = _deploy(shared, applications)
                with _http(http_application(shared, handles, token), host, port):
                    shown = f"[{host}]" if ":" in host else host
                    print(f"{', '.join(names)}: draws at http://{shown}:{port}; Ctrl-C ends it", flush=True)
                    threading.Event().wait()
        finally:
            _end([] if own else applications)


def _listening(name: str, port: int, host: str) -> socket.socket:
    """Raises ServingError where nothing can listen there."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
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


def _deploy(runs: Sequence[ServedRun], applications: Sequence[str]) -> list[Any]:
    """Handles to each run's replicas, which have drawn a first picture. Raises ClusterError."""
    from ray import serve

    from cluster.serving.application import model_application

    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # its news of starting
    try:
        serve.start(proxy_location="Disabled", logging_config=_QUIET)
        return [
            serve.run(model_application(run), name=name, route_prefix=None, logging_config=_QUIET)
            for run, name in zip(runs, applications, strict=True)
        ]
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise ClusterError(f"the models do not start: {said}") from error


@contextmanager
def _http(application: ASGIApp, host: str, port: int) -> Iterator[None]:
    """The application is served by a thread of this process; requests under way are answered at the end."""
    listening = _listening("--port", port, host)
    server = uvicorn.Server(
        uvicorn.Config(application, log_level="error", access_log=False, timeout_graceful_shutdown=_LAST_SECONDS)
    )
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_LAST_SECONDS + 5)


def _end(applications: Sequence[str]) -> None:
    """Nothing of the service stays in a cluster that others use; one of our own goes as a whole."""
    import ray
    from ray import serve

    if ray.is_initialized():
        for name in applications:
            serve.delete(name)
    ray.shutdown()
