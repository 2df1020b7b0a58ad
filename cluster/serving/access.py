"""Who may use a service: bearer tokens, and addresses that need none."""

from __future__ import annotations

import ipaddress
import os
import secrets
from pathlib import Path

from datasets.documents import read_text
from datasets.errors import UserError

__all__ = ["TOKEN", "TOKEN_FILE", "ServingError", "allowed", "check_address", "read_token"]

TOKEN, TOKEN_FILE = "DMGAN_SERVE_TOKEN", "DMGAN_SERVE_TOKEN_FILE"
_SHORTEST = 16  # characters of a token


class ServingError(UserError):
    """What is asked for cannot be served; one line."""


def read_token() -> str | None:
    """The token of this process's environment, DMGAN_SERVE_TOKEN or the file DMGAN_SERVE_TOKEN_FILE; None without one.

    Raises ServingError for one that is empty, short, or not of printable ASCII, which a header could not carry.
    """
    name, token = TOKEN, os.environ.get(TOKEN)
    if token is None:
        if (path := os.environ.get(TOKEN_FILE)) is None:
            return None
        name, token = f"{TOKEN_FILE}={path}", read_text(Path(path), f"{TOKEN_FILE} ", ServingError)
    token = token.strip()
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise ServingError(
            f"{name}: expected at least {_SHORTEST} ASCII characters without spaces, such as those of "
            "`openssl rand -hex 20`"
        )
    return token


def allowed(authorization: str | None, token: str | None) -> bool:
    """Whether the header `Authorization: Bearer TOKEN` has the token; where none is needed, always."""
    if token is None:
        return True
    scheme, _, given = (authorization or "").partition(" ")
    return scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), token.encode())


def check_address(host: str, token: str | None) -> None:
    """Raise ServingError for an address that others reach, without a token."""
    if token is None and not _is_loopback(host):
        raise ServingError(
            f"--host {host}: other machines may reach it, and there is no token; set {TOKEN} or {TOKEN_FILE}, or leave "
            "--host out: 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may stand for anything
        return False
