"""`serve`: how a run's model is served over HTTP, and what a request may ask for."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from dmgan.config.keys import Natural, Positive, Rate, Role, Section, key

__all__ = ["Serve"]


class Serve(Section):
    ROLES: ClassVar[tuple[Role, ...]] = ("not searched",)

    replicas: Positive = key(1, "processes that hold the model, at least")
    max_replicas: Positive | None = key(
        None, "processes that hold the model, at most: added as requests wait; unset: as many as serve.replicas"
    )
    cpus_per_replica: Annotated[float, Field(gt=0, le=1024)] | None = key(
        None,
        "CPU cores of a replica: what Ray sets aside for it, and torch's threads; unset: an even share of the machine "
        "that `serve` runs on, 1 on a cluster",
    )
    gpus_per_replica: Annotated[float, Field(ge=0, le=64)] | None = key(
        None,
        "GPUs of a replica: 0.25 puts four on one, 0 draws on the CPU; unset: an even share of the machine that "
        "`serve` runs on, at most 1, and 0 on a cluster",
    )
    batch_size: Positive = key(16, "images drawn in one forward pass, at most")
    batch_wait: Annotated[float, Field(ge=0, le=10)] = key(
        0.005, "seconds that an image waits for others to be drawn with"
    )
    max_queued: Natural = key(128, "requests that wait in a gateway, at most; another one is answered 503")
    max_images: Positive = key(64, "images of a request, captions times noises, at most")
    max_caption_length: Positive = key(500, "characters of a caption, at most")
    max_body: Positive = key(1 << 20, "bytes of a request, at most")
    timeout: Rate = key(60.0, "seconds after which a request is answered 504")

    @property
    def most_replicas(self) -> int:
        return self.max_replicas or self.replicas

    @model_validator(mode="after")
    def _whole(self) -> Serve:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas={self.max_replicas}: expected at least serve.replicas={self.replicas}")
        if self.gpus_per_replica is not None and self.gpus_per_replica > 1 and self.gpus_per_replica % 1:
            raise ValueError(f"gpus_per_replica={self.gpus_per_replica}: expected a whole number, or a share below 1")
        return self
