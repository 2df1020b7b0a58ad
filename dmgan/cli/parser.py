"""Commands and their flags: `--help` of each shows what applies to it, and a flag of another one is refused."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from datasets.errors import UserError
from dmgan import __version__
from dmgan.cli.commands import COMMANDS
from dmgan.cli.completion import complete
from dmgan.config import presets

__all__ = ["parse"]

PROGRAM = "python -m dmgan.launch"


class UsageError(UserError):
    """A command line that cannot be understood."""


class _Once(argparse.Action):
    """A flag with one value: given twice with others, one of them would be lost."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        given: set[str] = namespace.__dict__.setdefault("given", set())
        if self.dest in given and getattr(namespace, self.dest) != values:
            parser.error(f"{option_string} {values}: is given twice, before as {getattr(namespace, self.dest)}")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """One line for a mistake, in place of the whole usage; a flag without an action of its own is given once."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line; without a command those of `train`. Raises UsageError."""
    parser, commands = _parsers()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what could come next
        complete(parser)
    words = list(arguments)
    if not words or words[0] not in (*COMMANDS, "-h", "--help", "--version"):
        if words and not words[0].startswith("-"):
            parser.error(f"{words[0]}: unknown command; expected one of {', '.join(COMMANDS)}")
        words = ["train", *words]
    options, unknown = parser.parse_known_args(words)
    if unknown:
        commands[options.command].error(_refusal(unknown, options.command, commands))
    return options


def _refusal(unknown: Sequence[str], command: str, commands: dict[str, _Parser]) -> str:
    flag = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
    if flag is None:
        first = f"; the command comes first: {PROGRAM} {unknown[0]} …" if unknown[0] in COMMANDS else ""
        return f"{unknown[0]}: unexpected{first}"
    owners = [name for name, parser in commands.items() if flag in parser._option_string_actions]
    if owners:
        return f"{flag}: goes with {' and '.join(f'`{name}`' for name in owners)}, not with `{command}`"
    return f"{flag}: unknown flag of `{command}`"


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    parser = _Parser(
        prog=PROGRAM,
        description="Train and use DM-GAN, the dynamic-memory text-to-image GAN. Without a command: train.",
        epilog=f"{PROGRAM} COMMAND --help lists the flags of a command; those of most:\n"
        "  --config, --set, --storage, --name, --workers\n"
        f"presets of --config: {', '.join(presets())}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"dmgan {__version__}")
    known = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    commands: dict[str, _Parser] = {}
    for name, command in COMMANDS.items():
        commands[name] = known.add_parser(name, help=command.help, description=command.help, allow_abbrev=False)
        command.flags(commands[name])
    return parser, commands
