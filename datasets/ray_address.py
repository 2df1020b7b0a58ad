"""Whether a Ray cluster's head listens where RAY_ADDRESS says: Ray itself would try for minutes."""

from __future__ import annotations

import socket

__all__ = ["problem_of"]

_SECONDS = 10.0


def problem_of(address: str) -> str | None:
    """Why nobody answers at an address, for a message; None where somebody does, or where Ray finds its own."""
    if address in ("", "auto", "local"):
        return None
    place = address.removeprefix("ray://")
    host, separator, port = place.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 65536 or "/" in place:
        return "expected HOST:PORT of a Ray cluster's head, or auto"
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except (OSError, UnicodeError) as error:
        return f"no Ray cluster answers there: {getattr(error, 'strerror', None) or error}"
    return None
