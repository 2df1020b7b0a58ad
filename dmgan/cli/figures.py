"""`figures`: the paper's Figures 3 to 6 of runs that share a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from cluster.driver.submitted import output_folder
from datasets.documents import read_text
from dmgan.cli.command import Command, installed, runs_url, storage_flag
from dmgan.cli.evaluate import check_trained
from dmgan.config import ConfigError
from dmgan.runs.catalog import existing

__all__ = ["FIGURES"]


def flags(parser: argparse.ArgumentParser) -> None:
    storage_flag(parser)
    parser.add_argument(
        "--runs",
        metavar="A,B,C",
        help="names of trained runs in the storage, which share a dataset; LABEL=RUN has LABEL in the figures",
    )
    parser.add_argument(
        "--caption", action="append", default=[], metavar="TEXT", help="repeatable; default: unseen ones"
    )
    parser.add_argument("--captions", type=Path, metavar="FILE", help="a file with one caption a line")
    parser.add_argument("--count", type=int, default=6, metavar="N", help="unseen captions where none is given (6)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default 0)")
    parser.add_argument("--out", type=Path, default=Path("figures"), metavar="DIR", help="default ./figures")


def carry_out(options: argparse.Namespace) -> int:
    names = _labelled(options.runs or "")
    if options.count < 1:
        raise ConfigError(f"--count {options.count}: expected at least 1")
    folders = {label: existing(runs_url(options), name, "--runs ") for label, name in names.items()}
    captions = list(options.caption)
    if options.captions is not None:
        lines = read_text(options.captions, "--captions ").splitlines()
        captions += [line.strip() for line in lines if line.strip()]
    with installed():
        from dmgan.report.figures import load_systems, write_figures
        from dmgan.runs.run import Run
    runs = {label: Run(folder.url) for label, folder in folders.items()}
    for run in runs.values():
        check_trained(run)
    out = Path(output_folder(str(options.out)))
    systems, chosen = load_systems(runs, captions, options.count, options.seed)
    try:
        page = write_figures(systems, chosen, out)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error}") from error
    print(f"figures 3 to 6 of {', '.join(names)}: {page}")
    return 0


def _labelled(given: str) -> dict[str, str]:
    """Names of runs by what figures call them: `LABEL=RUN`, or the run's own name. Raises ConfigError."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in given.split(","))):
        label, _, name = part.rpartition("=")
        label, name = (label or name).strip(), name.strip()
        if not label or not name or label in found:
            raise ConfigError(f"--runs {part}: expected RUN or LABEL=RUN, each label once")
        found[label] = name
    if not found:
        raise ConfigError("--runs: not given; expected names of trained runs, such as --runs attngan,dm-gan")
    return found


FIGURES = Command("the paper's Figures 3 to 6 of trained runs that share a dataset", flags, carry_out)
