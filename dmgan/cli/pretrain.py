"""`pretrain`: the text and image encoders (DAMSM) alone."""

from __future__ import annotations

import argparse

from dmgan.cli.command import Command, installed, on_a_run, run_and_configuration

__all__ = ["PRETRAIN"]


def carry_out(options: argparse.Namespace) -> int:
    folder, config = run_and_configuration(options)
    with installed():
        from cluster.driver import stages
        from dmgan.runs.run import Run
    run = Run(folder.url)
    with stages.prepared(config, run, {"pretrain"}) as lease:
        stages.training_stages(config, run, until="pretrain", lease=lease)
    return 0


PRETRAIN = Command("the encoders only", on_a_run, carry_out)
