"""`python -m dmgan.launch serve`: its flags, and what is checked before anything heavy is imported."""

from __future__ import annotations

import argparse
import importlib.util
import sys

from datasets.errors import UserError

__all__ = ["add_flags", "serve"]

_NEEDED = ("fastapi", "starlette", "uvicorn")  # of the extra `serve`
_METRICS_PORT = 8080


class MissingError(UserError):
    """The extra `serve` is not installed."""


def add_flags(parser: argparse.ArgumentParser, storage: str) -> None:
    """The flags of `serve`, which takes several runs and has no workers."""
    parser.add_argument("--name", action="append", default=[], metavar="RUN", help="a run to serve; repeatable")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of serve; repeatable")
    parser.add_argument(
        "--storage",
        default=storage,
        metavar="DIR_OR_S3_URL",
        help="where runs live (default: $DMGAN_STORAGE, or ./runs)",
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default 127.0.0.1, this machine alone")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="default 8000")
    parser.add_argument(
        "--metrics-port", type=int, default=_METRICS_PORT, metavar="N", help=f"Prometheus (default {_METRICS_PORT})"
    )


def serve(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C; the exit code. Raises UserError."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise MissingError(
            f"serve: {missing[0]}: not installed for {sys.executable}; expected the extra serve: "
            "`pip install -c constraints.txt '.[serve]'`"
        )
    from cluster.driver.submitted import output_folder
    from cluster.serving.local import serve_runs
    from datasets import storage

    folder = storage.absolute(output_folder(options.storage))
    serve_runs(options.name or ["quickstart"], folder, options.set, options.host, options.port, options.metrics_port)
    return 0
