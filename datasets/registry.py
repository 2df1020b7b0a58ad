"""Names under which parts can be chosen in a configuration, and the modules of outsiders that register more."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Generic, TypeVar

from datasets.errors import UserError, short_reason

__all__ = ["PluginError", "Registry", "UnknownNameError", "import_plugins"]

T = TypeVar("T")


class UnknownNameError(UserError):
    """Nothing is registered under a name; one line that lists what is."""


class PluginError(UserError):
    """A module named in `plugins` cannot be imported; one line."""


class Registry(Generic[T]):
    """Parts of one kind by name. `key` is the configuration's key that holds such a name, for messages."""

    def __init__(self, what: str, key: str) -> None:
        self.what, self.key = what, key
        self._parts: dict[str, T] = {}

    def register(self, name: str, part: T) -> T:
        """Make `part` known as `name`. Raises ValueError where another one has the name."""
        before = self._parts.setdefault(name, part)
        if before is not part and type(before) is not type(part):
            raise ValueError(f"{self.what} {name!r}: registered already by {type(before).__module__}")
        self._parts[name] = part  # a module that is imported anew takes its own place
        return part

    def get(self, name: str) -> T:
        """Raises UnknownNameError."""
        if name not in self._parts:
            raise UnknownNameError(
                f"{self.key}={name}: no such {self.what}; registered are {', '.join(self.names())} (`plugins` names "
                "modules that register more)"
            )
        return self._parts[name]

    def names(self) -> list[str]:
        """In the order of their registration."""
        return list(self._parts)

    def values(self) -> list[T]:
        return list(self._parts.values())


def import_plugins(modules: Sequence[str]) -> None:
    """Import modules that register parts, from the Python path (the working directory is on it). Raises PluginError."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # somebody's module may raise anything
            raise PluginError(f"plugins: {module}: cannot be imported: {short_reason(error, None)}") from error
