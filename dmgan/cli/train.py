"""`train`: the main job, from the dataset to the report."""

from __future__ import annotations

import argparse

from dmgan.cli.command import Command, installed, job_flags, on_a_run, run_and_configuration
from dmgan.cli.origin import check_goes_on, new_run_from

__all__ = ["TRAIN"]


def flags(parser: argparse.ArgumentParser) -> None:
    on_a_run(parser)
    job_flags(parser)
    text = "go on from another run's checkpoint as a new run, with other learning rates say; needs --name"
    parser.add_argument("--from", dest="source", metavar="RUN[@STEP]", help=text)


def carry_out(options: argparse.Namespace) -> int:
    origin = None
    if options.source is None:
        folder, config = run_and_configuration(options)
    else:
        folder, config, origin = new_run_from(options)
    with installed():
        from cluster.driver import stages
        from cluster.driver.branch import branch, checkpoint_of
        from dmgan.runs.run import Run
    run = Run(folder.url)
    if origin is not None:
        source = Run(origin.run.url)
        step = checkpoint_of(source, origin.step, origin.flag)
        check_goes_on(config, step, origin)
        if not options.dry_run:
            stages.check_start(config, run, stages.stages_of(config))
            branch(source, run, step, config)
            print(f"run {run.name}: from {source.name} after {step} steps", flush=True)
    if stages.complete(config, run):
        print(f"run {run.name} is complete, nothing to do: {run.path('report.html')}")
    elif options.dry_run:
        from dmgan.cli.dry_run import dry_run

        return dry_run(config, run, stages.stages_of(config))
    else:
        stages.main_job(config, run)
    return 0


TRAIN = Command("the main job: dataset, encoders, GAN, evaluation, report; resumes a run that exists", flags, carry_out)
