"""A process that holds one run's model and draws what is asked of it, in batches across requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from cluster.serving.pictures import Drawn, Order, drawn
from dmgan import Request, TextToImage
from dmgan.config import Serve

__all__ = ["ModelReplica"]


class ModelReplica:
    """Serve's deployment of a run; `reconfigure` is not needed: another setting is another deployment."""

    def __init__(self, url: str, settings: dict[str, Any]) -> None:
        """The run at `url`, with the values of its `serve` section. Raises ConfigError, StorageError, DrawingError."""
        import torch

        self.settings = Serve.model_validate(settings)
        torch.set_num_threads(max(1, int(self.settings.cpus_per_replica or 1)))
        self.model = TextToImage.from_run(url, device="cuda" if self.settings.gpus_per_replica else "cpu")
        self._thread = ThreadPoolExecutor(1)
        self._since: float | None = None  # when the batch at work was begun
        self._draw_first()

    async def draw(self, orders: Sequence[Order]) -> list[list[Drawn]]:
        """The drawings of each order, in its order."""
        # In a thread: pings, health checks and the next call are taken meanwhile. Always the same: torch makes threads
        # of its own for each that calls it.
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._draw, orders)

    async def ping(self) -> None:
        """Answers as long as this process takes requests."""

    def check_health(self) -> None:
        """Raise where a batch takes longer than any request waits for: Serve then replaces this replica."""
        since = self._since
        if since is not None and time.monotonic() - since > 2 * self.settings.timeout:
            raise RuntimeError(f"a batch has been drawn for {time.monotonic() - since:.0f} s")

    def _draw(self, orders: Sequence[Order]) -> list[list[Drawn]]:
        self._since = time.monotonic()
        try:
            requests = [request for order in orders for request in order.requests]
            maps = any(order.details for order in orders)
            drawings = self.model.draw(requests, self.settings.batch_size, maps)
            return [
                [drawn(drawing, order.format, order.details) for drawing in islice(drawings, len(order.requests))]
                for order in orders
            ]
        finally:
            self._since = None

    def _draw_first(self) -> None:
        """A first batch, so that nobody waits for what torch prepares at its first call."""
        word = self.model.tokenizer.decode(range(1, min(len(self.model.tokenizer), 100)))
        known = next((text for text in word if self.model.tokenizer.encode(text)), None)
        if known is not None:
            self._draw([Order([Request(known)], details=True)])
