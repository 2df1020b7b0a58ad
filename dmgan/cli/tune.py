"""`tune`: a sweep of training runs."""

from __future__ import annotations

import argparse

from dmgan.cli.command import Command, configuration, installed, job_flags, on_a_run, run_folder
from dmgan.config import ConfigError

__all__ = ["TUNE"]


def flags(parser: argparse.ArgumentParser) -> None:
    on_a_run(parser)
    parser.add_argument("--search", metavar="FILE_OR_PRESET", help="the space: tune/presets/, or YAML such as there")
    parser.add_argument("--trials", type=int, metavar="N", help="configurations tried")
    job_flags(parser)


def carry_out(options: argparse.Namespace) -> int:
    folder = run_folder(options, sweep=True)
    config = configuration(options, folder)
    with installed():
        from dmgan.runs.run import Run
        from tune.space import load_space, parse_space, presets
        from tune.state import read_state
        from tune.sweep import run_sweep

    sweep = Run(folder.url)
    if options.search is not None:
        space = load_space(options.search, config)
        if options.trials is not None and space.trials(options.trials) == space.trials(options.trials + 1):
            raise ConfigError(
                f"--trials {options.trials}: expected none: {options.search} is a grid of {space.trials(1)} trials"
            )
    elif sweep.has("sweep.json"):
        space = parse_space(read_state(sweep).space, config, sweep.path("sweep.json"))
    else:
        raise ConfigError(f"--search: not given; expected a preset ({', '.join(presets())}) or a YAML file")
    if options.dry_run:
        from dmgan.cli.dry_run import dry_run

        print(f"sweep     {space.trials(config.tune.trials)} trials of: {', '.join(space.to_dict())}")
        return dry_run(config, sweep, {"pretrain", "train", "evaluate"})
    run_sweep(config, space, sweep)
    return 0


TUNE = Command("a hyperparameter sweep of training runs, with a report; resumes a sweep that exists", flags, carry_out)
