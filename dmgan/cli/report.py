"""`report`: write report.html of a run or a sweep anew."""

from __future__ import annotations

import argparse

from dmgan.cli.command import Command, configuration, installed, on_a_run, run_folder
from dmgan.cli.evaluate import check_trained
from dmgan.config import ConfigError
from dmgan.runs.catalog import existing
from dmgan.runs.folder import RunFolder

__all__ = ["REPORT"]


def flags(parser: argparse.ArgumentParser) -> None:
    on_a_run(parser)
    parser.add_argument("--beside", action="append", metavar="RUN", help="another run for the table; repeatable")


def carry_out(options: argparse.Namespace) -> int:
    folder = run_folder(options, there=True)
    config = configuration(options, folder)
    with installed():
        from cluster.driver import stages
        from dmgan.runs.run import Run
    run = Run(folder.url)
    if run.has("sweep.json"):
        from tune.report.page import write_report

        print(f"[1/1] report: {write_report(run)}")
        return 0
    check_trained(run)
    beside = [_evaluated(run.url.rpartition("/")[0], name) for name in options.beside or ()]
    with stages.prepared(config, run, set()):
        stages.report_stage(config, run, [Run(other.url) for other in beside])
    return 0


def _evaluated(url: str, name: str) -> RunFolder:
    """A run for `--beside`. Raises ConfigError where it has no evaluation."""
    run = existing(url, name, "--beside ")
    if not run.has("evaluation.json"):
        raise ConfigError(f"--beside {run.name}: {run.path('evaluation.json')}: not found")
    return run


REPORT = Command("write report.html of a run or sweep anew", flags, carry_out)
