"""`python -m dmgan.launch serve`: its flags, and what is checked before anything heavy is imported."""

from __future__ import annotations

import argparse
import importlib.util
import sys

from datasets.errors import UserError
from dmgan.cli.command import Command, installed, runs_url, storage_flag

__all__ = ["SERVE"]

_NEEDED = ("fastapi", "starlette", "uvicorn")  # of the extra `serve`
_METRICS_PORT = 8080


class MissingError(UserError):
    """The extra `serve` is not installed."""


def flags(parser: argparse.ArgumentParser) -> None:
    """Several runs and no workers."""
    parser.add_argument("--name", action="append", default=[], metavar="RUN", help="a run to serve; repeatable")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of serve; repeatable")
    storage_flag(parser)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default 127.0.0.1, this machine alone")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="default 8000")
    parser.add_argument(
        "--metrics-port", type=int, default=_METRICS_PORT, metavar="N", help=f"Prometheus (default {_METRICS_PORT})"
    )


def carry_out(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise MissingError(
            f"serve: {missing[0]}: not installed for {sys.executable}; expected the extra serve: "
            "`pip install -c constraints.txt '.[serve]'`"
        )
    with installed():
        from cluster.serving.local import serve_runs

    names, url = options.name or ["quickstart"], runs_url(options)
    serve_runs(names, url, options.set, options.host, options.port, options.metrics_port)
    return 0


SERVE = Command("a page and an HTTP service that draw with trained runs, until Ctrl-C", flags, carry_out)
