"""Requests of many clients in one call to a replica: a call costs more than a small picture. Knows nothing of Ray."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.serving.backend import Batches, BusyError
from cluster.serving.pictures import Drawn, Order

__all__ = ["GatheredModel"]


@dataclass(frozen=True, eq=False)
class _Waiting:
    order: Order
    answer: asyncio.Future[list[Drawn]]
    since: float  # of the event loop's clock

    @property
    def images(self) -> int:
        return len(self.order.requests)


class GatheredModel:
    """A `Model` whose orders go to `replicas` together.

    At most `calls` are on their way at a time; what comes meanwhile waits, `most_waiting` orders at most, and goes
    together, up to `batch_size` images, or one order. While a call is free, an order waits `batch_wait` seconds for
    others.
    """

    def __init__(self, replicas: Batches, calls: int, batch_size: int, batch_wait: float, most_waiting: int) -> None:
        self._replicas, self._calls = replicas, calls
        self._batch_size, self._batch_wait, self._most_waiting = batch_size, batch_wait, most_waiting
        self._waiting: deque[_Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def draw(self, order: Order) -> list[Drawn]:
        """The order's drawings. Raises BusyError, LostError."""
        loop = asyncio.get_running_loop()
        if len(self._under_way) >= self._calls and len(self._waiting) >= self._most_waiting:
            raise BusyError
        entry = _Waiting(order, loop.create_future(), loop.time())
        self._waiting.append(entry)
        self._send()
        try:
            return await entry.answer
        finally:
            if entry in self._waiting:  # whoever asked has gone
                self._waiting.remove(entry)

    async def ping(self) -> None:
        await self._replicas.ping()

    def _send(self) -> None:
        """Send what is ready: a whole batch, or what has waited long enough; come again for what has not."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting and len(self._under_way) < self._calls:
            rest = self._waiting[0].since + self._batch_wait - loop.time()
            if rest > 0 and sum(entry.images for entry in self._waiting) < self._batch_size:
                self._timer = loop.call_later(rest, self._send)
                return
            task = loop.create_task(self._carry_out(self._take()))
            self._under_way.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._send()

    def _take(self) -> list[_Waiting]:
        taken = [self._waiting.popleft()]
        images = taken[0].images
        while self._waiting and images + self._waiting[0].images <= self._batch_size:
            taken.append(self._waiting.popleft())
            images += taken[-1].images
        return taken

    async def _carry_out(self, entries: Sequence[_Waiting]) -> None:
        try:
            answers = await self._replicas.draw([entry.order for entry in entries])
        except Exception as error:
            for entry in entries:
                if not entry.answer.done():
                    entry.answer.set_exception(error)
            return
        for entry, drawn in zip(entries, answers, strict=True):
            if not entry.answer.done():
                entry.answer.set_result(drawn)
