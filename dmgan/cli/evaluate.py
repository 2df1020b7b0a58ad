"""`evaluate`: the scores of a trained run, or of its checkpoints."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cluster.driver.submitted import output_folder
from datasets import storage
from dmgan.cli.command import Command, installed, job_flags, on_a_run, run_and_configuration
from dmgan.config import ConfigError
from dmgan.runs.folder import RunFolder

if TYPE_CHECKING:
    from dmgan.runs.run import Run

__all__ = ["EVALUATE", "check_trained"]


def flags(parser: argparse.ArgumentParser) -> None:
    on_a_run(parser)
    parser.add_argument("--steps", metavar="all|N[,N]", help="the run's checkpoints at these steps, as a curve")
    parser.add_argument("--save-images", metavar="DIR_OR_S3_URL", help="keep the generated images there")
    job_flags(parser)


def carry_out(options: argparse.Namespace) -> int:
    folder, config = run_and_configuration(options, there=True)
    check_trained(folder)
    with installed():
        from cluster.driver import stages
        from dmgan.runs.run import Run
    run = Run(folder.url)
    steps = _steps(options.steps, run)
    if options.dry_run:
        from dmgan.cli.dry_run import dry_run

        return dry_run(config, run, {"evaluate"})
    images = options.save_images and storage.absolute(output_folder(options.save_images))
    with stages.prepared(config, run, {"evaluate"}):
        stages.evaluate_stage(config, run, steps, images)
    return 0


def check_trained(run: RunFolder) -> None:
    """Raises ConfigError where the run has no generator."""
    if not run.has("generator.json"):
        raise ConfigError(f"{run.path('generator.json')}: not found; run `python -m dmgan.launch train` first")


def _steps(text: str | None, run: Run) -> list[int] | None:
    """The steps of --steps. Raises ConfigError."""
    from cluster.evaluation.candidate import steps_of

    if text is None:
        return None
    there = steps_of(run)
    if not text.strip() or not there:
        raise ConfigError(f"--steps {text}: {run.path('checkpoints')} has no checkpoint of the GAN")
    if text == "all":
        return there
    try:
        steps = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--steps {text}: expected all, or steps such as 500,1000") from None
    if missing := [step for step in steps if step not in there]:
        listed = ", ".join(map(str, there))
        raise ConfigError(f"--steps {text}: no checkpoint of step {missing[0]}; there are: {listed}")
    return steps


EVALUATE = Command("IS, FID and R-precision of a trained run", flags, carry_out)
