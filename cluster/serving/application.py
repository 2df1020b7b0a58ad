"""The service on Ray Serve: a deployment a run, and before them the gateway.

In a Serve config (`import_path: cluster.serving.application:build`) the gateway is a deployment too, behind Serve's
HTTP proxy. `dmgan.launch serve` has it in its own process (`cluster.serving.local`): two hops less for every request.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.util.metrics import Counter, Histogram
from starlette.types import ASGIApp

from cluster.serving.access import TOKEN, TOKEN_FILE, ServingError, read_token
from cluster.serving.backend import LostError
from cluster.serving.gateway import gateway
from cluster.serving.gathering import GatheredModel
from cluster.serving.pictures import Drawn, Order
from cluster.serving.replica import ModelReplica
from cluster.serving.runs import ServedRun, served_runs
from datasets import storage

__all__ = ["Arguments", "Gateway", "build", "http_application", "model_application"]

_TRIES = 2  # of orders whose replica ended: a drawing has no other effect, so it may be drawn again
_CALLS = 2  # that a replica has: orders at work and the next ones
_PINGS = 8  # that it takes beside them
_UPPER_BOUNDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]  # seconds, of the histogram


class Arguments(BaseModel):
    """`args` of the application in a Serve config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: Annotated[list[str], Field(description="runs, below `storage`")]
    storage: Annotated[str | None, Field(description="where runs live; unset: DMGAN_STORAGE, or ./runs")] = None
    settings: Annotated[list[str], Field(description="KEY=VALUE of `serve`, such as serve.replicas=2")] = []
    gateways: Annotated[int, Field(ge=1, description="processes that take requests")] = 1
    gateway_cpus: Annotated[float, Field(ge=0, description="CPU cores that Ray sets aside for each of them")] = 0.0
    open: Annotated[bool, Field(description="whether calls need no token: for addresses of this machine alone")] = False


def build(arguments: Arguments | dict[str, object]) -> Application:
    """The application of these runs. Raises ServingError without a token, ConfigError, StorageError."""
    arguments = Arguments.model_validate(arguments)  # of a Serve config it is a dictionary
    if not arguments.open and read_token() is None:
        raise ServingError(f"{TOKEN}: not set, nor {TOKEN_FILE}; expected the token that callers must have")
    folder = storage.absolute(arguments.storage or os.environ.get("DMGAN_STORAGE", "./runs"))
    return application(served_runs(arguments.names, folder, arguments.settings), arguments)


def application(runs: Sequence[ServedRun], arguments: Arguments) -> Application:
    """A gateway before a deployment a run."""
    waiting = sum(_most_at_once(run) for run in runs)
    door: Any = serve.deployment(
        Gateway,
        name="gateway",
        num_replicas=arguments.gateways,
        # All that models let wait, and those that they refuse: the gateway answers each at once.
        max_ongoing_requests=2 * waiting + 100,
        max_queued_requests=100,
        backpressure_config={"status_code": 503, "retry_after_s": 1},
        ray_actor_options={"num_cpus": arguments.gateway_cpus},
    )
    return door.bind(list(runs), [model_application(run) for run in runs], arguments.open)


def model_application(run: ServedRun) -> Application:
    """The deployment of a run, without a way in from outside."""
    bound: Application = _model(run).bind(run.url, run.settings.model_dump())
    return bound


def _most_at_once(run: ServedRun) -> int:
    """Requests of a gateway that are drawn or wait."""
    return run.settings.max_queued + _calls(run) * run.settings.batch_size


def _calls(run: ServedRun) -> int:
    """Calls that a gateway makes at a time."""
    return _CALLS * run.settings.most_replicas


def _model(run: ServedRun) -> Any:
    settings = run.settings
    scaling: dict[str, Any] = {"num_replicas": settings.replicas}
    if settings.max_replicas is not None and settings.max_replicas > settings.replicas:
        bounds = {"min_replicas": settings.replicas, "max_replicas": settings.max_replicas}
        scaling = {"autoscaling_config": {**bounds, "target_ongoing_requests": 1}}
    return serve.deployment(
        ModelReplica,
        name="model-" + re.sub(r"[^\w.-]", "-", run.name),
        max_ongoing_requests=_CALLS + _PINGS,
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=settings.timeout,
        ray_actor_options={"num_cpus": settings.cpus_per_replica or 1, "num_gpus": settings.gpus_per_replica or 0},
        **scaling,
    )


class Replicas:
    """The replicas of a model behind Serve's handle."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def draw(self, orders: Sequence[Order]) -> list[list[Drawn]]:
        """Orders whose replica ended go to another one. Raises LostError."""
        for _ in range(_TRIES):
            try:
                drawn: list[list[Drawn]] = await self._handle.draw.remote(orders)
                return drawn
            except (RayActorError, ReplicaUnavailableError):
                continue
            except DeploymentUnavailableError:
                break
        raise LostError

    async def ping(self) -> None:
        try:
            await self._handle.ping.remote()
        except (RayActorError, ReplicaUnavailableError, DeploymentUnavailableError):
            raise LostError from None


def _gathered(run: ServedRun, handle: DeploymentHandle[Any]) -> GatheredModel:
    settings = run.settings
    return GatheredModel(
        Replicas(handle), _calls(run), settings.batch_size, settings.batch_wait, most_waiting=settings.max_queued
    )


def http_application(runs: Sequence[ServedRun], handles: Sequence[DeploymentHandle[Any]], token: str | None) -> ASGIApp:
    """The gateway to these runs' deployments, in this process; with a `token` every call needs it."""
    models = {run.name: _gathered(run, handle) for run, handle in zip(runs, handles, strict=True)}
    return gateway(runs, models, token, _Meters())


@serve.ingress()
class Gateway:
    """Serve's deployment of `cluster.serving.gateway`."""

    def __init__(self, runs: Sequence[ServedRun], handles: Sequence[DeploymentHandle[Any]], is_open: bool) -> None:
        self._runs, self._handles, self._token = runs, handles, None if is_open else read_token()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return http_application(self._runs, self._handles, self._token)


class _Meters:
    """An `Observer` that counts for Prometheus."""

    def __init__(self) -> None:
        self._requests = Counter(
            "dmgan_serve_requests", "requests for pictures, by model and HTTP status", tag_keys=("model", "status")
        )
        self._images = Counter("dmgan_serve_images", "pictures drawn, by model", tag_keys=("model",))
        self._seconds = Histogram(
            "dmgan_serve_seconds", "seconds of a request for pictures", boundaries=_UPPER_BOUNDS, tag_keys=("model",)
        )

    def __call__(self, model: str, status: int, seconds: float, images: int) -> None:
        self._requests.inc(tags={"model": model, "status": str(status)})
        self._seconds.observe(seconds, tags={"model": model})
        if images:
            self._images.inc(images, tags={"model": model})
