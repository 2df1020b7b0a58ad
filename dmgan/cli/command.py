"""What a subcommand is, and what all that work on a run have in common."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.driver.submitted import INSTALL, output_folder
from datasets import storage
from datasets.errors import UserError
from dmgan.config import AUTO, Config, ConfigError, SourcedConfig, absolute_paths, load_sourced, presets
from dmgan.runs.catalog import existing
from dmgan.runs.folder import RunFolder, check_name

__all__ = [
    "Command",
    "InstallError",
    "check_no_sweep",
    "configuration",
    "installed",
    "job_flags",
    "on_a_run",
    "run_and_configuration",
    "run_folder",
    "runs_url",
    "sourced_configuration",
    "storage_flag",
]


@dataclass(frozen=True)
class Command:
    """A subcommand: one line of help, its flags, and what it does, which returns the exit code or raises UserError.

    A command's module imports nothing heavy (torch, ray): `carry_out` does, after what was asked is known to be right.
    """

    help: str
    flags: Callable[[argparse.ArgumentParser], None]
    carry_out: Callable[[argparse.Namespace], int]


class InstallError(UserError):
    """A package that the job needs is not there; one line."""


@contextmanager
def installed() -> Iterator[None]:
    """Around the imports of a job: a package that is missing is one line that says where to have it from."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InstallError(f"{error.name}: not installed for {sys.executable}; {INSTALL}") from error


def on_a_run(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that works on a run."""
    text = f"a preset ({', '.join(presets())}), a YAML file, or {AUTO}: what fits data.url and this machine"
    parser.add_argument("--config", metavar="NAME_OR_FILE", help=text)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; repeatable")
    storage_flag(parser)
    parser.add_argument("--name", metavar="RUN", help="run name (default: the configuration's); resumes if it exists")
    parser.add_argument("--workers", type=int, metavar="N", help="data-parallel workers")


def storage_flag(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--storage",
        default=os.environ.get("DMGAN_STORAGE", "./runs") if default is None else default,
        metavar="DIR_OR_S3_URL",
        help="where runs live (default: $DMGAN_STORAGE, or ./runs)",
    )


def job_flags(parser: argparse.ArgumentParser) -> None:
    """For commands that start a job."""
    text = "say what would be done and all that is missing or wrong; start and write nothing"
    parser.add_argument("--dry-run", action="store_true", help=text)
    text = "print warnings and errors alone; RUN/driver.log has the rest"
    parser.add_argument("--quiet", action="store_true", help=text)


def run_folder(options: argparse.Namespace, *, sweep: bool = False, there: bool = False) -> RunFolder:
    """The folder of the run that is asked for, or of the `sweep`. Raises ConfigError, also where it must be `there`."""
    name = options.name if options.name is not None else Path(options.config).stem if options.config else "quickstart"
    if sweep and options.name is None:
        name += "-sweep"
    check_name(name)
    url = runs_url(options)
    return existing(url, name) if there else RunFolder(storage.join(url, name))


def runs_url(options: argparse.Namespace) -> str:
    """Where runs live. Absolute: Ray's workers have other working directories."""
    return storage.absolute(output_folder(options.storage))


def check_no_sweep(run: RunFolder) -> None:
    """Raises ConfigError where the folder holds a sweep."""
    if run.has("sweep.json"):
        raise ConfigError(f"{run.url}: holds a sweep; expected another --name, or a run in {run.path('trials')}")


def configuration(options: argparse.Namespace, run: RunFolder) -> Config:
    """--config, else the run's own, else the default preset; then --set and the flags that stand for a key.

    Says what `--config auto` chose. Raises ConfigError.
    """
    sourced = sourced_configuration(options, run)
    for note in sourced.notes:
        print(f"{AUTO}      {note}", flush=True)
    return absolute_paths(sourced.config)


def sourced_configuration(options: argparse.Namespace, run: RunFolder) -> SourcedConfig:
    """As `configuration`, paths as they were given, with the source of each key. Raises ConfigError."""
    flags: dict[str, tuple[str, object]] = {}
    if options.workers is not None:
        flags["train.workers"] = ("--workers", options.workers)
    if getattr(options, "trials", None) is not None:
        flags["tune.trials"] = ("--trials", options.trials)
    if options.config == AUTO:
        from dmgan.cli.automatic import automatic_configuration  # it reads the dataset

        with installed():
            return automatic_configuration(run, options.set, flags)
    own = options.config is None and run.has("run.yaml")
    base = run.read_config() if own else options.config
    return load_sourced(base, options.set, flags, called=run.path("run.yaml"))


def run_and_configuration(options: argparse.Namespace, *, there: bool = False) -> tuple[RunFolder, Config]:
    """The folder, which must not be a sweep's, and the configuration of a command on a run. Raises ConfigError.

    The run must be `there` for commands that use what was trained; a name that is not lists those that are near.
    """
    run = run_folder(options, there=there)
    check_no_sweep(run)
    return run, configuration(options, run)
