"""The texts of a source, line by line, whatever their size and encoding."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from datasets.sources.place import in_bucket, kind, open_file, read_bytes
from datasets.sources.records import SourceError

__all__ = ["lines_of", "text_lines", "texts_of", "unreadable"]

_CHUNK = 1 << 20  # bytes


def text_lines(path: Path, expected: str, encoding: str = "utf-8") -> list[str]:
    """The lines of a small text file of the source; as `lines_of`."""
    return list(_lines(path, expected, encoding, whole=True))


def lines_of(path: Path, expected: str, encoding: str = "utf-8") -> Iterator[str]:
    """The lines of a text file of the source, in UTF-8 or what `encoding` or its first bytes say.

    They are read as they are asked for. Raises SourceError that says what was `expected`, StorageError.
    """
    return _lines(path, expected, encoding, whole=False)


def texts_of(path: Path, expected: str, encoding: str) -> tuple[str, ...]:
    """The captions of a small file of one a line; none where there is no such file. Raises as `lines_of`."""
    if not in_bucket(path) and not kind(path):
        return ()
    try:
        lines = text_lines(path, expected, encoding)
    except _MissingTextError:
        return ()
    return tuple(line.strip() for line in lines if line.strip())


class _MissingTextError(SourceError):
    """There is no such file."""


def _lines(path: Path, expected: str, encoding: str, whole: bool) -> Iterator[str]:
    if not in_bucket(path) and kind(path) in ("folder", "other"):  # reading a pipe or a device would wait for ever
        raise SourceError(f"{path}: not a file; expected {expected}")
    try:
        with io.BytesIO(read_bytes(path)) if whole else open_file(path) as file:
            yield from _decoded(path, file, encoding)
    except (FileNotFoundError, NotADirectoryError):
        raise _MissingTextError(f"{path}: not found; expected {expected}") from None
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> SourceError:
    """What to say of a file or folder that cannot be read."""
    return SourceError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})")


def _decoded(path: Path, file: BinaryIO, encoding: str) -> Iterator[str]:
    """Lines end at newlines alone, not at U+2028, which JSON allows."""
    chunk = file.read(_CHUNK)
    if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif chunk.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    decoder = codecs.getincrementaldecoder(encoding)()
    rest, line = "", 1
    while True:
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line += error.object.count(b"\n", 0, error.start)
            raise SourceError(
                f"{path}, line {line}: not {encoding.upper()} (byte 0x{error.object[error.start]:02x}); store it as "
                "UTF-8, or say what it is, such as --set encoding=cp1252"
            ) from None
        first, *others = text.split("\n")
        line += len(others)
        rest += first
        if others:
            yield rest
            yield from others[:-1]
            rest = others[-1]
        if not chunk:
            break
        chunk = file.read(_CHUNK)
    yield rest
