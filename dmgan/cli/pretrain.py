"""`pretrain`: the text and image encoders (DAMSM) alone."""

from __future__ import annotations

import argparse

from dmgan.cli.command import Command, installed, job_flags, on_a_run, run_and_configuration

__all__ = ["PRETRAIN"]


def flags(parser: argparse.ArgumentParser) -> None:
    on_a_run(parser)
    job_flags(parser)


def carry_out(options: argparse.Namespace) -> int:
    folder, config = run_and_configuration(options)
    with installed():
        from cluster.driver import stages
        from dmgan.runs.run import Run
    run = Run(folder.url)
    if options.dry_run:
        from dmgan.cli.dry_run import dry_run

        return dry_run(config, run, {"pretrain"})
    with stages.prepared(config, run, {"pretrain"}) as lease:
        stages.training_stages(config, run, until="pretrain", lease=lease)
    return 0


PRETRAIN = Command("the encoders only", flags, carry_out)
