"""What the gateway knows of a model: that it draws, that it may be busy, and that it may be lost."""

from __future__ import annotations

from typing import Protocol

from cluster.serving.pictures import Drawn, Order

__all__ = ["BusyError", "LostError", "Model", "Observer"]


class BusyError(Exception):
    """As many requests wait as may wait."""


class LostError(Exception):
    """The processes that hold the model ended before they answered."""


class Model(Protocol):
    async def draw(self, order: Order) -> list[Drawn]:
        """The order's drawings. Raises BusyError, LostError."""

    async def ping(self) -> None:
        """Returns when a replica answers. Raises BusyError, LostError."""


class Observer(Protocol):
    """Is told of every request for pictures."""

    def __call__(self, model: str, status: int, seconds: float, images: int) -> None: ...
