"""Shell completion by argcomplete: commands and flags, and names of presets, keys, runs.

The shell asks by running the command with _ARGCOMPLETE set; README says how to switch it on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from datasets.errors import UserError
from dmgan.cli.command import runs_url
from dmgan.config import AUTO, known_keys, presets
from dmgan.runs.catalog import names_of

__all__ = ["complete"]


def complete(parser: argparse.ArgumentParser) -> None:
    """Print what could come next and end, where a shell asks."""
    import argcomplete

    _attach(parser)
    argcomplete.autocomplete(parser)


def _attach(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                _attach(command)
            continue
        if completer := _COMPLETERS.get(action.dest):
            action.completer = completer  # type: ignore[attr-defined]
        if action.nargs is None and not isinstance(action, argparse._AppendAction):
            # argcomplete carries out argparse's own actions alone; completers look at what --storage stored.
            action.__class__ = argparse._StoreAction


def _runs(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    try:
        return names_of(runs_url(parsed_args))
    except UserError:  # a bucket that is away completes nothing
        return []


def _keys(prefix: str, **_: object) -> list[str]:
    return [f"{key}=" for key in known_keys()]


def _presets(prefix: str, **options: object) -> list[str]:
    from argcomplete.completers import FilesCompleter

    files: list[str] = FilesCompleter(("yaml", "yml"))(prefix, **options)
    return [AUTO, *presets(), *files]


_COMPLETERS: dict[str, Callable[..., list[str]]] = {
    "config": _presets,
    "set": _keys,
    "name": _runs,
    "names": _runs,
    "source": _runs,
    "beside": _runs,
}
