"""Colour, where a person looks: on a terminal, unless NO_COLOR (no-color.org) or TERM=dumb says otherwise."""

from __future__ import annotations

import os
import re
import sys
from typing import Literal, TextIO

__all__ = ["Style", "has_colour", "plain", "styled", "warn"]

Style = Literal["error", "warning", "stage"]

_CODES: dict[Style, str] = {"error": "1;31", "warning": "33", "stage": "1"}
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def has_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, style: Style, stream: TextIO) -> str:
    """The text as `stream` is to show it."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if has_colour(stream) else text


def warn(text: str) -> None:
    """Say on stderr, in one line, what a person should know and nothing ends for."""
    print(f"{styled('dmgan: warning:', 'warning', sys.stderr)} {text}", file=sys.stderr)


def plain(text: str) -> str:
    """Without what moves a terminal's cursor and sets its colours."""
    return _ESCAPES.sub("", text)
