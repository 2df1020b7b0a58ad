"""A process that holds one run's model and draws what is asked of it, in batches across requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ray import serve

from cluster.serving.pictures import Drawn, Order, drawn
from cluster.serving.schema import Format
from dmgan import Request, TextToImage
from dmgan.config import Serve

__all__ = ["ModelReplica"]


@dataclass(frozen=True)
class _Item:
    request: Request
    format: Format
    details: bool


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
        self._batched.set_max_batch_size(self.settings.batch_size)
        self._batched.set_batch_wait_timeout_s(self.settings.batch_wait)
        self._draw_first()

    async def draw(self, order: Order) -> list[Drawn]:
        """The order's drawings, in its order."""
        items = [_Item(request, order.format, order.details) for request in order.requests]
        return list(await asyncio.gather(*(self._batched(item) for item in items)))

    async def ping(self) -> None:
        """Answers as long as this process takes requests."""

    def check_health(self) -> None:
        """Raise where a batch takes longer than any request waits for: Serve then replaces this replica."""
        since = self._since
        if since is not None and time.monotonic() - since > 2 * self.settings.timeout:
            raise RuntimeError(f"a batch has been drawn for {time.monotonic() - since:.0f} s")

    @serve.batch  # type: ignore[untyped-decorator]
    async def _batched(self, items: list[_Item]) -> list[Drawn]:
        # In a thread: pings, health checks and the next requests are answered meanwhile. Always the same: torch makes
        # threads of its own for each that calls it.
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._draw, items)

    def _draw(self, items: Sequence[_Item]) -> list[Drawn]:
        self._since = time.monotonic()
        try:
            maps = any(item.details for item in items)
            drawings = self.model.draw([item.request for item in items], self.settings.batch_size, maps)
            return [drawn(drawing, item.format, item.details) for item, drawing in zip(items, drawings, strict=True)]
        finally:
            self._since = None

    def _draw_first(self) -> None:
        """A first batch, so that nobody waits for what torch prepares at its first call."""
        word = self.model.tokenizer.decode(range(1, min(len(self.model.tokenizer), 100)))
        known = next((text for text in word if self.model.tokenizer.encode(text)), None)
        if known is not None:
            self._draw([_Item(Request(known), "png", details=True)])
