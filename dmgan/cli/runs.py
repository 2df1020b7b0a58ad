"""`runs`: the runs and sweeps of a storage; removing one, and making one from another's checkpoint."""

from __future__ import annotations

import argparse
import json
import sys

from datasets import storage
from datasets.storage.lease import holder_of
from datasets.storage.usage import usage
from dmgan.cli.command import Command, installed, runs_url, storage_flag
from dmgan.config import ConfigError
from dmgan.runs.catalog import Entry, entries, existing
from dmgan.runs.folder import LEASE, RunFolder, check_name

__all__ = ["RUNS"]


def flags(parser: argparse.ArgumentParser) -> None:
    storage_flag(parser)
    parser.add_argument("--json", action="store_true", help="as a JSON list")
    actions = parser.add_subparsers(dest="action", metavar="[rm | clone]", parser_class=type(parser))
    text = "remove runs or sweeps"
    remove = actions.add_parser("rm", help=text, description=text, allow_abbrev=False)
    remove.add_argument("names", nargs="+", metavar="NAME")
    remove.add_argument("--yes", action="store_true", help="without asking; needed where there is no terminal")
    text = "make a run of another one's checkpoint, to be gone on with"
    clone = actions.add_parser("clone", help=text, description=text, allow_abbrev=False)
    clone.add_argument("source", metavar="NAME")
    clone.add_argument("target", metavar="NEW")
    clone.add_argument("--from-step", type=int, metavar="N", help="of the checkpoint (default: the newest)")
    for action in (remove, clone):  # given before the action or after it
        storage_flag(action, default=argparse.SUPPRESS)


def carry_out(options: argparse.Namespace) -> int:
    url = runs_url(options)
    if options.action == "rm":
        _remove(url, options.names, options.yes)
    elif options.action == "clone":
        _clone(url, options.source, options.target, options.from_step)
    elif options.json:
        print(json.dumps([entry.to_dict() for entry in entries(url)], indent=2, ensure_ascii=False))
    else:
        _print(url, list(entries(url)))
    return 0


def _print(url: str, found: list[Entry]) -> None:
    if not found:
        print(f"no runs in {url}; `python -m dmgan.launch train` makes one")
        return
    rows = [("NAME", "STATE", "STEP", "SCORES", "SIZE", "AGE")]
    for entry in found:
        of = f" of {entry.steps}" if entry.steps is not None else ""
        step = f"{entry.step}{of}" if entry.kind == "run" else ""
        scores = ", ".join(f"{name} {value:.4g}" for name, value in entry.scores.items())
        rows.append((entry.name, entry.state, step, scores, _size(entry.size), _age(entry.age)))
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, wide, strict=True)).rstrip())


def _remove(url: str, names: list[str], yes: bool) -> None:
    """All are looked at before any is removed."""
    found = [existing(url, _checked(name), "") for name in names]
    for run in found:
        _check_idle(run)
    for run in found:
        size = _size(usage(run.url).size)
        if not yes and not sys.stdin.isatty():
            raise ConfigError(
                f"rm {run.name}: would remove {run.url} ({size}); expected --yes where nobody can be asked"
            )
        if not yes and input(f"remove {run.url} ({size})? [y/N] ").strip().lower() not in ("y", "yes"):
            print(f"{run.url}: stays")
            continue
        storage.remove(run.path("run.yaml"))  # without it there is no run, however far removing gets
        storage.remove_folder(run.url)
        print(f"{run.url}: removed, {size}")


def _clone(url: str, source: str, target: str, step: int | None) -> None:
    folder = existing(url, _checked(source), "")
    if folder.has("sweep.json"):
        raise ConfigError(f"{source}: is a sweep; expected a run, such as one of {folder.path('trials')}")
    with installed():
        from cluster.driver.branch import branch, checkpoint_of
        from dmgan.runs.run import Run
    run, new = Run(folder.url), Run(storage.join(url, _checked(target)))
    chosen = checkpoint_of(run, step, f"clone {source}" if step is None else f"--from-step {step}")
    branch(run, new, chosen, run.read_config())
    print(f"{new.url}: {source} after {chosen} steps; `python -m dmgan.launch train --name {target}` goes on")


def _checked(name: str) -> str:
    check_name(name, "")
    return name


def _check_idle(run: RunFolder) -> None:
    if (holder := holder_of(run.path(LEASE))) is not None:
        raise ConfigError(f"{run.url}: {holder} is at work on it; stop that first")


def _size(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def _age(seconds: float) -> str:
    for unit, factor in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= factor:
            return f"{seconds / factor:.0f} {unit}"
    return f"{seconds:.0f} s"


RUNS = Command("list runs and sweeps; `runs rm`, `runs clone`", flags, carry_out)
