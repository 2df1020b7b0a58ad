"""`--from RUN[@STEP]`: the run and step that a new run goes on from, and what may then be changed."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from dmgan.cli.command import check_no_sweep, configuration, run_folder, runs_url
from dmgan.config import Config, ConfigError, keys_with
from dmgan.runs.catalog import existing
from dmgan.runs.folder import ORIGIN, RunFolder, check_name

__all__ = ["Origin", "check_goes_on", "new_run_from"]


@dataclass(frozen=True)
class Origin:
    """Where a new run starts: `step` None stands for the newest checkpoint."""

    run: RunFolder
    step: int | None
    flag: str  # as it was given, for messages


def new_run_from(options: argparse.Namespace) -> tuple[RunFolder, Config, Origin | None]:
    """The new run, its configuration (the other run's, then --set), and its origin; None where it has begun already.

    Raises ConfigError.
    """
    flag = f"--from {options.source}"
    if options.name is None or options.config is not None:
        raise ConfigError(f"{flag}: goes with --name, the new run's, and takes its configuration, without --config")
    origin = _parsed(options, flag)
    run = run_folder(options)
    check_no_sweep(run)
    if run.has("run.yaml"):
        _check_same(run, origin)
        return run, configuration(options, run), None
    config = configuration(options, origin.run)
    _check_may_change(origin.run.read_config(), config, origin)
    return run, config, origin


def check_goes_on(config: Config, step: int, origin: Origin) -> None:
    """Raises ConfigError where training would end at once."""
    if config.train.max_steps is not None and config.train.max_steps <= step:
        raise ConfigError(
            f"train.max_steps={config.train.max_steps}: {origin.flag} goes on after {step} steps; expected more, such "
            f"as --set train.max_steps={2 * step}"
        )


def _parsed(options: argparse.Namespace, flag: str) -> Origin:
    name, at, text = options.source.rpartition("@")
    if at and not text.isdecimal():
        raise ConfigError(f"{flag}: expected RUN or RUN@STEP, such as {name or 'birds'}@5000")
    name, step = (name, int(text)) if at else (options.source, None)
    check_name(name, "--from ")
    source = existing(runs_url(options), name, "--from ")
    check_no_sweep(source)
    return Origin(source, step, flag)


def _check_same(run: RunFolder, origin: Origin) -> None:
    """A run that is there is gone on with if it began where this command would begin it."""
    begun = run.read_json(ORIGIN) if run.has(ORIGIN) else {}
    same = isinstance(begun, dict) and begun.get("run") == origin.run.url
    if not same or (origin.step is not None and begun.get("step") != origin.step):
        raise ConfigError(
            f"{origin.flag}: run {run.name} is there and began otherwise; go on with it without --from, or choose "
            "another --name"
        )


def _check_may_change(before: Config, config: Config, origin: Origin) -> None:
    """Refuse another value of what decides what the weights are, or how they came about."""
    live = keys_with("live")
    for key in dict.fromkeys([*keys_with("network"), *(key for key in keys_with("fixed") if key not in live)]):
        old, new = before.value(key), config.value(key)
        if old != new:
            raise ConfigError(
                f"{key}: run {origin.run.name} was trained with {old}, not {new}; {origin.flag} goes on with it. What "
                f"may change: {', '.join(live)}, and keys that are not fixed (docs/configuration.md)"
            )
