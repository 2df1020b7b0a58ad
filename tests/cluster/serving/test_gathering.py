from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from cluster.serving.backend import BusyError, LostError
from cluster.serving.gathering import GatheredModel
from cluster.serving.pictures import Drawn, Order
from dmgan import Request


class Recorded:
    """Replicas that draw captions as bytes when they are let, and keep what came in each call."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []  # numbers of the requests of each order's first image
        self.open = asyncio.Event()
        self.failure: Exception | None = None

    async def draw(self, orders: Sequence[Order]) -> list[list[Drawn]]:
        self.calls.append([order.requests[0].number for order in orders])
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return [
            [Drawn(r.caption, r.number, r.seed, None, [], [], f"{r.number}".encode()) for r in order.requests]
            for order in orders
        ]

    async def ping(self) -> None:
        pass


def order(number: int, images: int = 1) -> Order:
    return Order([Request("a bird", number + i) for i in range(images)])


def carried_out(test: Callable[[], Awaitable[Any]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


async def started(*draws: Any) -> list[asyncio.Task[list[Drawn]]]:
    tasks = [asyncio.ensure_future(draw) for draw in draws]
    await asyncio.sleep(0)
    return tasks


def test_what_comes_while_a_call_is_under_way_goes_together_and_each_gets_its_own() -> None:
    async def test() -> None:
        replicas = Recorded()
        model = GatheredModel(replicas, calls=1, batch_size=4, batch_wait=0, most_waiting=10)
        tasks = await started(*(model.draw(order(10 * i, images=1 + i % 2)) for i in range(7)))
        await asyncio.sleep(0.01)
        replicas.open.set()
        answers = await asyncio.gather(*tasks)
        assert [[each.number for each in answer] for answer in answers] == [
            [10 * i + j for j in range(1 + i % 2)] for i in range(7)
        ]
        assert replicas.calls == [[0], [10, 20], [30, 40], [50, 60]]  # of 3 images each after the first

    carried_out(test)


def test_a_larger_order_than_a_batch_goes_alone() -> None:
    async def test() -> None:
        replicas = Recorded()
        replicas.open.set()
        model = GatheredModel(replicas, calls=1, batch_size=4, batch_wait=0, most_waiting=10)
        answers = await asyncio.gather(model.draw(order(0)), model.draw(order(10, images=9)), model.draw(order(20)))
        assert [len(answer) for answer in answers] == [1, 9, 1] and [10] in replicas.calls

    carried_out(test)


def test_an_order_waits_for_others_and_no_longer_than_it_may() -> None:
    async def test() -> None:
        replicas = Recorded()
        replicas.open.set()
        patient = GatheredModel(replicas, calls=2, batch_size=3, batch_wait=30, most_waiting=10)
        await asyncio.gather(*(patient.draw(order(i)) for i in range(3)))  # a whole batch waits for nobody
        quick = GatheredModel(replicas, calls=2, batch_size=3, batch_wait=0.01, most_waiting=10)
        await quick.draw(order(3))
        assert replicas.calls == [[0, 1, 2], [3]]

    carried_out(test)


def test_more_than_may_wait_are_refused_and_those_that_left_are_not_drawn() -> None:
    async def test() -> None:
        replicas = Recorded()
        model = GatheredModel(replicas, calls=1, batch_size=1, batch_wait=0, most_waiting=2)
        tasks = await started(*(model.draw(order(i)) for i in range(3)))
        with pytest.raises(BusyError):
            await model.draw(order(3))
        tasks[1].cancel()
        await asyncio.wait(tasks[1:2])
        tasks += await started(model.draw(order(4)))
        replicas.open.set()
        await asyncio.gather(tasks[0], *tasks[2:])
        assert replicas.calls == [[0], [2], [4]]

    carried_out(test)


def test_all_of_a_call_that_is_lost_are_told() -> None:
    async def test() -> None:
        replicas = Recorded()
        replicas.failure = LostError()
        replicas.open.set()
        model = GatheredModel(replicas, calls=1, batch_size=8, batch_wait=0.01, most_waiting=8)
        answers = await asyncio.gather(*(model.draw(order(i)) for i in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [LostError] * 3 and replicas.calls == [[0, 1, 2]]
        replicas.failure = None
        assert len(await model.draw(order(3))) == 1

    carried_out(test)
