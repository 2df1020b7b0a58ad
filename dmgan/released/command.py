"""python -m dmgan.reference import | export: the authors' checkpoints into a run folder, and back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from datasets.errors import run_command
from dmgan.released.runs import export_run, import_run

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dmgan.reference", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    importing = commands.add_parser("import", help="the authors' checkpoints into a run folder")
    for name in ("generator", "text-encoder", "image-encoder", "captions", "out"):
        importing.add_argument(f"--{name}", required=True, metavar="RUN" if name == "out" else "FILE")
    importing.add_argument("--padding-mask", choices=["aligned", "interleaved"], default="aligned")
    exporting = commands.add_parser("export", help="a run's networks under the authors' names")
    exporting.add_argument("--run", required=True)
    exporting.add_argument("--out", required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    return run_command("dmgan.reference", partial(_carry_out, options))


def _carry_out(options: argparse.Namespace) -> int:
    if options.command == "import":
        import_run(
            options.generator,
            options.text_encoder,
            options.image_encoder,
            options.captions,
            options.out,
            options.padding_mask,
        )
    else:
        export_run(options.run, options.out)
    print(options.out)
    return 0
