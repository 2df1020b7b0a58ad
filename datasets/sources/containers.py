"""The files of a source that hold many images each: Parquet files, tars."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from braceexpand import braceexpand

from datasets.sources.place import kind, stamp_of, walk
from datasets.sources.records import SourceError
from datasets.sources.texts import unreadable

__all__ = ["Container", "containers"]


@dataclass(frozen=True)
class Container:
    """A file that holds images."""

    path: Path
    name: str  # from SOURCE
    version: str  # changes with its content


def containers(source: Path, suffix: str) -> list[Container]:
    """The files with a suffix that SOURCE is, has below it, or names by a pattern such as {00000..00099}.tar.

    Raises SourceError where there is none or one of a pattern's is missing, StorageError.
    """
    try:
        if kind(source) == "folder":
            found = [
                Container(folder.path / file, folder.relative(file), folder.stamp(file))
                for folder in walk(source)
                for file in folder.files
                if file.endswith(suffix)
            ]
            if not found:
                raise SourceError(f"{source}: no {suffix} file is there or below it")
            return found
        base, pattern = _without_braces(source)
        return [_named(base / name, name) for name in braceexpand(pattern)]
    except ValueError:
        raise SourceError(f"{source}: its braces are not closed; expected such as {{00000..00099}}{suffix}") from None
    except OSError as error:
        raise unreadable(source, error) from error


def _without_braces(source: Path) -> tuple[Path, str]:
    """The folder above all braces, or the file's own, and the rest of the path."""
    base, rest = source.parent, source.name
    while "{" in str(base):
        base, rest = base.parent, f"{base.name}/{rest}"
    return base, rest


def _named(path: Path, name: str) -> Container:
    if kind(path) != "file":
        raise SourceError(f"{path}: not found; expected a file, a folder or a pattern such as {{00000..00099}}.tar")
    return Container(path, name, stamp_of(path))
