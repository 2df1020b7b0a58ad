"""The table of subcommands: one file each."""

from __future__ import annotations

from dmgan.cli.command import Command
from dmgan.cli.config import CONFIG
from dmgan.cli.evaluate import EVALUATE
from dmgan.cli.export import EXPORT
from dmgan.cli.figures import FIGURES
from dmgan.cli.generate import GENERATE
from dmgan.cli.pretrain import PRETRAIN
from dmgan.cli.report import REPORT
from dmgan.cli.runs import RUNS
from dmgan.cli.serve import SERVE
from dmgan.cli.train import TRAIN
from dmgan.cli.tune import TUNE

__all__ = ["COMMANDS"]

COMMANDS: dict[str, Command] = {
    "train": TRAIN,
    "pretrain": PRETRAIN,
    "evaluate": EVALUATE,
    "generate": GENERATE,
    "tune": TUNE,
    "report": REPORT,
    "export": EXPORT,
    "serve": SERVE,
    "figures": FIGURES,
    "runs": RUNS,
    "config": CONFIG,
}
