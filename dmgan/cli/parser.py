"""Commands and their flags: `--help` of each shows what applies to it, and a flag of another one is refused."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from datasets.errors import UserError
from dmgan.cli import export, generate
from dmgan.config import presets

__all__ = ["COMMANDS", "parse"]

COMMANDS = {
    "train": "the main job: dataset, encoders, GAN, evaluation, report; resumes a run that exists",
    "pretrain": "the encoders only",
    "evaluate": "IS, FID and R-precision of a trained run",
    "generate": "images from captions with a trained run",
    "tune": "a hyperparameter sweep of training runs, with a report; resumes a sweep that exists",
    "report": "write report.html of a run or sweep anew",
    "export": "a trained run in ONNX, TorchScript or safetensors, with a model card",
}
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
    words = list(arguments)
    if not words or words[0] not in (*COMMANDS, "-h", "--help"):
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
        epilog=f"{PROGRAM} COMMAND --help lists the flags of a command; those of train:\n"
        "  --config, --set, --storage, --name, --workers\n"
        f"presets of --config: {', '.join(presets())}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    known = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    commands: dict[str, _Parser] = {}
    for name, text in COMMANDS.items():
        commands[name] = known.add_parser(name, help=text, description=text, allow_abbrev=False)
        _common(commands[name])
        if name in _FLAGS:
            _FLAGS[name](commands[name])
    return parser, commands


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="NAME_OR_FILE", help=f"a preset ({', '.join(presets())}) or a YAML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; repeatable")
    parser.add_argument(
        "--storage",
        default=os.environ.get("DMGAN_STORAGE", "./runs"),
        metavar="DIR_OR_S3_URL",
        help="where runs live (default: $DMGAN_STORAGE, or ./runs)",
    )
    parser.add_argument("--name", metavar="RUN", help="run name (default: the configuration's); resumes if it exists")
    parser.add_argument("--workers", type=int, metavar="N", help="data-parallel workers")


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", metavar="all|N[,N]", help="the run's checkpoints at these steps, as a curve")
    parser.add_argument("--save-images", metavar="DIR_OR_S3_URL", help="keep the generated images there")


def _tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--search", metavar="FILE_OR_PRESET", help="the space: tune/presets/, or YAML such as there")
    parser.add_argument("--trials", type=int, metavar="N", help="configurations tried")


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--beside", action="append", metavar="RUN", help="another run for the table; repeatable")


_FLAGS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "evaluate": _evaluate,
    "tune": _tune,
    "report": _report,
    "generate": generate.add_flags,
    "export": export.add_flags,
}
