"""`generate`: images from captions with a trained run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cluster.driver.submitted import output_folder
from datasets.documents import read_text
from dmgan.cli.command import Command, installed, on_a_run, run_and_configuration
from dmgan.config import ConfigError

__all__ = ["GENERATE"]


def flags(parser: argparse.ArgumentParser) -> None:
    on_a_run(parser)
    parser.add_argument("--caption", action="append", default=[], metavar="TEXT", help="repeatable")
    parser.add_argument("--captions", type=Path, metavar="FILE", help="a file with one caption a line")
    parser.add_argument("--out", type=Path, default=Path("generated"), metavar="DIR", help="default ./generated")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="images a caption (default 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default 0)")


def carry_out(options: argparse.Namespace) -> int:
    folder, config = run_and_configuration(options, there=True)
    with installed():
        from dmgan.runs.generate import check_captions, generate_files
        from dmgan.runs.run import Run

    run = Run(folder.url)
    out = Path(output_folder(str(options.out)))
    captions = list(options.caption)
    if options.captions is not None:
        text = read_text(options.captions, "--captions ")
        captions += [line.strip() for line in text.splitlines() if line.strip()]
    if not captions:
        raise ConfigError("generate: no captions; give --caption TEXT or --captions FILE")
    if options.count < 1:
        raise ConfigError(f"--count {options.count}: expected at least 1")
    usable, warnings = check_captions(captions, run.read_tokenizer(config), config.evaluate.max_words)
    for warning in warnings:
        print(f"dmgan: warning: {warning}", file=sys.stderr)
    try:
        generated = generate_files(config, run, usable, out, options.count, options.seed)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error}") from error
    print(f"{len(generated.images)} images in {out}, all captions in {generated.grid}")
    return 0


GENERATE = Command("images from captions with a trained run", flags, carry_out)
