"""Progress bars: drawn on a terminal, a line now and then where output goes to a file (`ray job logs`, CI)."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

__all__ = ["progress_bar", "quiet"]

_LINE_SECONDS = 30.0


_quiet = False


def quiet() -> None:
    """No progress bars of this process from here on."""
    global _quiet
    _quiet = True


class _Lines:
    """What tqdm draws over and over in place, as lines of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._begun = stream, False

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        # tqdm draws once before anything is done.
        if line and self._begun:
            self._stream.write(f"      {line}\n")
        self._begun = self._begun or bool(line)

    def flush(self) -> None:
        self._stream.flush()


def progress_bar(iterable: Any = None, *, line_seconds: float = _LINE_SECONDS, **options: Any) -> Any:
    """tqdm with these arguments; on what is no terminal a plain line every `line_seconds` and one at the end.

    Nothing at all where `quiet` was asked for.
    """
    if _quiet:
        return tqdm(iterable, disable=True, **options)
    if sys.stderr.isatty():
        return tqdm(iterable, dynamic_ncols=True, **options)
    many = options.get("unit", "it").removesuffix("s") + "s"
    shape = "{desc}: {n_fmt} of {total_fmt} " + many + ", {elapsed}, {remaining} left, {rate_fmt}{postfix}"
    if iterable is None and options.get("total") is None:
        shape = "{desc}: {n_fmt} " + many + ", {elapsed}, {rate_fmt}{postfix}"
    return tqdm(
        iterable,
        file=_Lines(sys.stderr),
        bar_format=shape,
        mininterval=line_seconds,
        maxinterval=float("inf"),
        ascii=True,
        **options,
    )
