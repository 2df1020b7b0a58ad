"""The Ray Serve application; in a Serve config `import_path: cluster.serving.application:build`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.serve.metrics import Counter, Histogram
from starlette.types import ASGIApp

from cluster.serving.access import TOKEN, TOKEN_FILE, ServingError, read_token
from cluster.serving.backend import BusyError, LostError
from cluster.serving.gateway import gateway
from cluster.serving.pictures import Drawn, Order
from cluster.serving.replica import ModelReplica
from cluster.serving.runs import ServedRun, served_runs
from datasets import storage

__all__ = ["Arguments", "Gateway", "build"]

_TRIES = 2  # of an order whose replica ended: a drawing has no other effect, so it may be drawn again
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
    return door.bind(list(runs), [_model(run).bind(run.url, run.settings.model_dump()) for run in runs], arguments.open)


def _most_at_once(run: ServedRun) -> int:
    return run.settings.max_queued + run.settings.most_replicas * _ongoing(run)


def _ongoing(run: ServedRun) -> int:
    """Requests that a replica has: a batch at work and the next one."""
    return 2 * run.settings.batch_size


def _model(run: ServedRun) -> Any:
    settings = run.settings
    scaling: dict[str, Any] = {"num_replicas": settings.replicas}
    if settings.max_replicas is not None and settings.max_replicas > settings.replicas:
        bounds = {"min_replicas": settings.replicas, "max_replicas": settings.max_replicas}
        scaling = {"autoscaling_config": {**bounds, "target_ongoing_requests": settings.batch_size}}
    return serve.deployment(
        ModelReplica,
        name="model-" + re.sub(r"[^\w.-]", "-", run.name),
        max_ongoing_requests=_ongoing(run),
        max_queued_requests=settings.max_queued,
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=settings.timeout,
        ray_actor_options={"num_cpus": settings.cpus_per_replica or 1, "num_gpus": settings.gpus_per_replica or 0},
        **scaling,
    )


class ServedModel:
    """A model behind Serve's handle."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def draw(self, order: Order) -> list[Drawn]:
        """An order whose replica ended goes to another one. Raises BusyError, LostError."""
        for _ in range(_TRIES):
            try:
                drawn: list[Drawn] = await self._handle.draw.remote(order)
                return drawn
            except BackPressureError:
                raise BusyError from None
            except (RayActorError, ReplicaUnavailableError):
                continue
            except DeploymentUnavailableError:
                break
        raise LostError

    async def ping(self) -> None:
        try:
            await self._handle.ping.remote()
        except BackPressureError:
            raise BusyError from None
        except (RayActorError, ReplicaUnavailableError, DeploymentUnavailableError):
            raise LostError from None


@serve.ingress()
class Gateway:
    """Serve's deployment of `cluster.serving.gateway`."""

    def __init__(self, runs: Sequence[ServedRun], handles: Sequence[DeploymentHandle[Any]], is_open: bool) -> None:
        self._runs, self._token = runs, None if is_open else read_token()
        self._models = {run.name: ServedModel(handle) for run, handle in zip(runs, handles, strict=True)}
        self._requests = Counter(
            "dmgan_serve_requests", "requests for pictures, by model and HTTP status", tag_keys=("model", "status")
        )
        self._images = Counter("dmgan_serve_images", "pictures drawn, by model", tag_keys=("model",))
        self._seconds = Histogram(
            "dmgan_serve_seconds", "seconds of a request for pictures", boundaries=_UPPER_BOUNDS, tag_keys=("model",)
        )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return gateway(self._runs, self._models, self._token, self._observe)

    def _observe(self, model: str, status: int, seconds: float, images: int) -> None:
        self._requests.inc(tags={"model": model, "status": str(status)})
        self._seconds.observe(seconds, tags={"model": model})
        if images:
            self._images.inc(images, tags={"model": model})
