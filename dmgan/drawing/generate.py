"""`generate`: a plan's pictures, made and written as a stream."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from datasets import storage
from dmgan.drawing.grid import Grid, pages
from dmgan.drawing.output import Output
from dmgan.drawing.picture import Look, Picture
from dmgan.drawing.plan import Plan
from dmgan.drawing.text_to_image import TextToImage

__all__ = ["Writing", "pictures"]

_ENCODERS = 8  # threads at most; Pillow compresses without the interpreter's lock
_AHEAD = 4  # pictures a thread that wait to be written


def pictures(
    model: TextToImage,
    plan: Plan,
    look: Look,
    batch_size: int,
) -> Iterator[Picture]:
    """The plan's pictures in order. While a batch is drawn, others become files."""
    drawings = model.draw((item.request for item in plan.items()), batch_size)
    threads = min(_ENCODERS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
        waiting: deque[Future[Picture]] = deque()
        try:
            for drawing in drawings:
                waiting.append(pool.submit(look.picture, drawing))
                if len(waiting) > _AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Writing:
    """Writes a plan's pictures to `output`, with the grid's pages."""

    plan: Plan
    look: Look
    tiles: int  # of a picture on the grid: its stages, or one
    output: Output

    @property
    def grids(self) -> list[str]:
        """The names of the grid's pages."""
        plan = self.plan
        lines = len(plan) // plan.beside if plan.is_template else len(plan.captions)
        return pages(lines, plan.beside if plan.is_template else plan.count, plan.columns, self.tiles)

    def check(self) -> int:
        """How many files of an earlier call will be replaced. Raises DrawingError where others are in the way."""
        return self.output.check(self.grids)

    def write(self, made: Iterable[Picture]) -> None:
        """Take the pictures in order, and write all. Raises StorageError."""
        grid = Grid(self.grids, self.plan.columns, self.tiles, self._page)
        with tqdm(total=len(self.plan), desc="draw", unit="image", disable=None, dynamic_ncols=True) as bar:
            for item, picture in zip(self.plan.items(), made, strict=True):
                self.output.add(item, picture)
                grid.add(item.line, item.label, picture.tiles)
                bar.update()
        self.output.close()
        grid.close()

    def _page(self, name: str, content: bytes) -> None:
        storage.write_bytes(storage.join(self.output.url, name), content)
