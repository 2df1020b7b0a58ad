"""`train`: the main job, from the dataset to the report."""

from __future__ import annotations

import argparse

from dmgan.cli.command import Command, dry_run_flag, installed, on_a_run, run_and_configuration

__all__ = ["TRAIN"]


def flags(parser: argparse.ArgumentParser) -> None:
    on_a_run(parser)
    dry_run_flag(parser)


def carry_out(options: argparse.Namespace) -> int:
    folder, config = run_and_configuration(options)
    with installed():
        from cluster.driver import stages
        from dmgan.runs.run import Run
    run = Run(folder.url)
    if stages.complete(config, run):
        print(f"run {run.name} is complete, nothing to do: {run.path('report.html')}")
    elif options.dry_run:
        from dmgan.cli.dry_run import dry_run

        return dry_run(config, run, stages.stages_of(config))
    else:
        stages.main_job(config, run)
    return 0


TRAIN = Command("the main job: dataset, encoders, GAN, evaluation, report; resumes a run that exists", flags, carry_out)
