"""The command line's entry: python -m dmgan.launch [train | pretrain | evaluate | generate | tune | report].

Exit code 0 on success, 2 and one line on a mistake in what was asked, 1 when the job itself failed, 128 and a signal's
number when that stopped it.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial

from cluster.driver.submitted import is_submitted, outlive_the_job, warn_of_credentials
from datasets.errors import run_command
from datasets.storage.progress import quiet
from dmgan.cli.commands import COMMANDS
from dmgan.cli.parser import parse

__all__ = ["main", "run"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line (sys.argv's by default); returns the exit code."""
    return run_command("dmgan", partial(_main, sys.argv[1:] if arguments is None else arguments))


class _Nowhere(io.StringIO):
    """A stream that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)


def _main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    warn_of_credentials()
    carry_out = COMMANDS[options.command].carry_out
    if not getattr(options, "quiet", False):
        return carry_out(options)
    quiet()
    with redirect_stdout(_Nowhere()):
        return carry_out(options)


def run() -> int:
    """`main` as a process of its own: one that a submitted job's end does not take along."""
    return outlive_the_job(main) if is_submitted() else main()
