"""Which layout a source has, seen by the names of a few of its files."""

from __future__ import annotations

from pathlib import Path

from datasets.sources.place import kind
from datasets.sources.records import SourceError, readers
from datasets.sources.texts import unreadable

__all__ = ["recognise"]


def recognise(source: Path) -> tuple[str, str]:
    """The format of SOURCE, and what it was recognised by.

    Raises SourceError where there is no such place, where it is of no known layout, which says what is missing of those
    that it nearly is of, and where it is of several, which names them; StorageError.
    """
    if "{" not in str(source) and not kind(source):
        raise SourceError(f"{source}: not found; expected a folder or a file of captioned images")
    try:
        seen = {name: readers.get(name).recognise(source) for name in readers.names()}
    except OSError as error:
        raise unreadable(source, error) from error
    found = {name: what.found for name, what in seen.items() if what.found}
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        listed = "; ".join(f"{name} ({why})" for name, why in found.items())
        raise SourceError(f"{source}: may be of several layouts: {listed}; choose by --format NAME")
    near = "; ".join(f"for {name}, {what.missing}" for name, what in seen.items() if what.missing)
    if near:
        raise SourceError(f"{source}: nearly of a known layout: {near}")
    raise SourceError(
        f"{source}: of no known layout; those are {', '.join(readers.names())}: see the table in docs/data.md"
    )
