"""Progress bars: drawn on a terminal, a line now and then where output goes to a file (`ray job logs`, CI)."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

__all__ = ["progress_bar"]

_LINE_SECONDS = 30.0


class _Lines:
    """What tqdm draws over and over in place, as lines of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            self._stream.write(f"      {line}\n")

    def flush(self) -> None:
        self._stream.flush()


def progress_bar(iterable: Any = None, *, line_seconds: float = _LINE_SECONDS, **options: Any) -> Any:
    """tqdm with these arguments; on what is no terminal a plain line every `line_seconds` and one at the end."""
    if sys.stderr.isatty():
        return tqdm(iterable, dynamic_ncols=True, **options)
    unit = options.get("unit", "it")
    shape = "{desc}: {n_fmt} of {total_fmt} " + unit + "s, {elapsed}, {remaining} left, {rate_fmt}{postfix}"
    return tqdm(
        iterable,
        file=_Lines(sys.stderr),
        bar_format=shape,
        mininterval=line_seconds,
        maxinterval=float("inf"),
        delay=1e-9,  # no line before anything is done
        ascii=True,
        **options,
    )
