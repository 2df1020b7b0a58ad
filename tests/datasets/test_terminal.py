from __future__ import annotations

import io
import sys

import pytest

from datasets.errors import UserError, run_command
from datasets.terminal import plain, styled


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_that_wants_it_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert styled("dmgan:", "error", Terminal()) == "\x1b[1;31mdmgan:\x1b[0m"
    assert plain(styled("dmgan:", "error", Terminal())) == "dmgan:"
    assert styled("dmgan:", "error", io.StringIO()) == "dmgan:"
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("dmgan:", "error", Terminal()) == "dmgan:"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert styled("dmgan:", "error", Terminal()) == "dmgan:"


def test_an_error_is_red_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())

    def fail() -> int:
        raise UserError("no such thing")

    assert run_command("dmgan", fail) == 2
    assert terminal.getvalue() == "\x1b[1;31mdmgan:\x1b[0m no such thing\n"
