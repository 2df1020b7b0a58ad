"""The one kind of error that people see, and the one place that turns it into a line and an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable

from datasets.terminal import styled

__all__ = ["UserError", "run_command", "short_reason"]

_MAX_LENGTH = 800  # characters of a message


class UserError(Exception):
    """What a person must know: `str(error)` is one line that names the file, key or value and what was expected.

    Library code raises it; `run_command` prints it and ends with `exit_code`.
    """

    exit_code = 2

    def __str__(self) -> str:
        """In one line, cut where what was asked is repeated at length."""
        text = " ".join(super().__str__().split())
        return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"


def short_reason(error: BaseException, most: int | None = 300) -> str:
    """What any error says, in one line of at most `most` characters; its kind where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def run_command(program: str, command: Callable[[], int]) -> int:
    """The exit code of `command()`; a UserError is printed to stderr as one line that begins with `program`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of few characters shows the others as escapes
            stream.reconfigure(errors="backslashreplace")
    try:
        return command()
    except UserError as error:
        print(f"{styled(f'{program}:', 'error', sys.stderr)} {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # whoever read the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print(f"{program}: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
