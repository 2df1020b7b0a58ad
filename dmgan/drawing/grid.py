"""Grids of pictures, in pages, so that any number of them takes little memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dmgan.drawing.picture import TILE
from dmgan.runs.samples import caption_grid

__all__ = ["ROWS", "Grid", "pages"]

ROWS = 64  # of a page
COLUMNS = 16  # of a line without a header; a caption's further pictures go on below


def per_line(columns: Sequence[str], tiles: int) -> int:
    """Pictures of a line, each of so many tiles."""
    return len(columns) or max(1, COLUMNS // tiles)


def pages(lines: int, pictures: int, columns: Sequence[str], tiles: int) -> list[str]:
    """The names of the pages for so many lines of so many pictures each."""
    rows = lines * -(-pictures // per_line(columns, tiles))
    count = -(-rows // ROWS)
    return ["grid.png"] if count == 1 else [f"grid-{page:03d}.png" for page in range(count)]


class Grid:
    """Takes pictures in order, and hands each page (its name, its PNG) to `write` as soon as it is full."""

    def __init__(
        self, names: Sequence[str], columns: Sequence[str], tiles: int, write: Callable[[str, bytes], None]
    ) -> None:
        self._names, self._write = iter(names), write
        self._columns = [name for column in columns for name in (column, *[""] * (tiles - 1))]
        self._per_line, self._line = per_line(columns, tiles) * tiles, -1
        self._labels: list[str] = []
        self._rows: list[list[np.ndarray]] = []

    def add(self, line: int, label: str, tiles: Sequence[np.ndarray]) -> None:
        """A picture's tiles, at the end of the line of that number."""
        if line != self._line or len(self._rows[-1]) == self._per_line:
            if len(self._rows) == ROWS:
                self.close()
            self._line = line
            self._labels.append(label)
            self._rows.append([])
        self._rows[-1].extend(tiles)

    def close(self) -> None:
        """Write what is left."""
        if self._rows:
            self._write(next(self._names), caption_grid(self._labels, self._rows, TILE, self._columns))
        self._labels, self._rows, self._line = [], [], -1
