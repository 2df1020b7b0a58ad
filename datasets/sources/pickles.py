"""Reading the pickles that text-to-image data comes in (captions.pickle, filenames.pickle, …) without running them.

A pickle may call any function. These hold lists, tuples, dicts, strings and numbers alone, which need none, so every
reference to one is refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, NoReturn

from datasets.errors import UserError

__all__ = ["PickleError", "read_plain_pickle"]


class PickleError(UserError):
    """A pickle holds more than plain data, or is none; one line."""


class _PlainUnpickler(pickle._Unpickler):
    """Python's own, though slower: that in C makes room for as many objects as a damaged byte says, up to 34 GB."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise PickleError(f"it refers to {module}.{name}; expected lists, dicts, strings and numbers alone")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise PickleError("it refers to objects outside itself; expected lists, dicts, strings and numbers alone")


def read_plain_pickle(content: bytes, name: str) -> Any:
    """The plain data in `content`, Python 2's strings as Latin-1. Raises PickleError that begins with `name`."""
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
    except PickleError as error:
        raise PickleError(f"{name}: {error}") from None
    except Exception as error:  # a damaged pickle fails in any way
        raise PickleError(f"{name}: not a readable pickle ({type(error).__name__}: {error})") from error
