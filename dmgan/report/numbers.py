"""Numbers as a report words them."""

from __future__ import annotations

__all__ = ["duration", "millions"]


def duration(seconds: float) -> str:
    """Such as 48 s, 8 min 05 s, 3 h 20 min, 2 d 04 h."""
    whole = round(seconds)
    for above, larger, smaller, per in ((86400, "d", "h", 3600), (3600, "h", "min", 60), (60, "min", "s", 1)):
        if whole >= above:
            return f"{whole // above} {larger} {whole % above // per:02d} {smaller}"
    return f"{whole} s"


def millions(count: int) -> str:
    return f"{count / 1e6:.2f} million" if count >= 10_000 else f"{count:,}"
