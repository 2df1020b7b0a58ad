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
    text = "other runs of the storage, whose samples, curves and scores are shown beside the run's; repeatable"
    parser.add_argument("--beside", action="extend", nargs="+", metavar="RUN", help=text)


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
    beside = [_other(run, run.url.rpartition("/")[0], name) for name in options.beside or ()]
    with stages.prepared(config, run, set(), dataset=False):
        stages.report_stage(config, run, [Run(other.url) for other in beside])
    return 0


def _other(run: RunFolder, url: str, name: str) -> RunFolder:
    """A run for `--beside`. Raises ConfigError where it is not trained, or is the run itself."""
    other = existing(url, name, "--beside ")
    if other.url == run.url:
        raise ConfigError(f"--beside {name}: is the run itself; expected another one")
    if not other.has("generator.json"):
        raise ConfigError(f"--beside {name}: {other.path('generator.json')}: not found; expected a trained run")
    return other


REPORT = Command("write report.html of a run or sweep anew", flags, carry_out)
