"""What the gateway knows of a model: that it draws, that it may be busy, and that it may be lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cluster.serving.pictures import Drawn, Order

__all__ = ["Batches", "BusyError", "LostError", "Model", "Observer"]


class BusyError(Exception):
    """As many requests wait as may wait."""


class LostError(Exception):
    """The processes that hold the model ended before they answered."""


class Model(Protocol):
    async def draw(self, order: Order) -> list[Drawn]:
        """The order's drawings. Raises BusyError, LostError."""

    async def ping(self) -> None:
        """Returns when a replica answers. Raises LostError."""


class Batches(Protocol):
    """The replicas of a model, each of which takes several orders in a call."""

    async def draw(self, orders: Sequence[Order]) -> list[list[Drawn]]:
        """The drawings of each order. Raises LostError."""

    async def ping(self) -> None:
        """Returns when a replica answers. Raises LostError."""


class Observer(Protocol):
    """Is told of every request for pictures."""

    def __call__(self, model: str, status: int, seconds: float, images: int) -> None: ...
