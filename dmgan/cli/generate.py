"""`generate`: pictures from captions with a trained run. Its flags, and what it does with them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.driver.submitted import output_folder
from datasets.documents import read_text
from dmgan.config import Config, ConfigError

if TYPE_CHECKING:
    from dmgan.drawing.generate import Writing
    from dmgan.drawing.plan import Plan
    from dmgan.drawing.text_to_image import TextToImage
    from dmgan.runs.run import Run

__all__ = ["add_flags", "generate"]

_FORMATS = ("png", "webp", "jpeg")
_SHARD = 1000  # pictures of one, where their number is not given


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that `generate` alone has."""
    what = parser.add_argument_group("what is drawn")
    what.add_argument("--caption", action="append", default=[], metavar="TEXT", help="repeatable")
    what.add_argument("--captions", type=Path, metavar="FILE", help="a file with one caption a line")
    what.add_argument(
        "--vary", metavar="TEXT", help="a caption with choices, 'a {red,blue} bird': all of the same noise"
    )
    what.add_argument("--count", type=int, default=1, metavar="N", help="pictures a caption (default 1)")
    what.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default 0)")
    what.add_argument("--truncation", type=float, metavar="T", help="keeps the noise within ±T: less variety")
    how = parser.add_argument_group("by which generator, and where")
    how.add_argument("--step", type=int, metavar="N", help="the generator of the run's checkpoint at that step")
    how.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    how.add_argument("--dtype", metavar="NAME", help="float32 (default), bfloat16 or float16")
    how.add_argument("--batch-size", type=int, default=16, metavar="N", help="pictures drawn at a time (default 16)")
    out = parser.add_argument_group("what is written")
    out.add_argument("--out", default="generated", metavar="DIR_OR_S3_URL", help="default ./generated")
    out.add_argument("--format", choices=_FORMATS, default="png", help="of the pictures (default png)")
    out.add_argument("--stages", action="store_true", help="also every stage's picture")
    out.add_argument(
        "--shards", type=int, metavar="N", help=f"N WebDataset tars (s3:// has tars of {_SHARD} pictures by default)"
    )


def generate(options: argparse.Namespace, config: Config, run: Run) -> None:
    """Carry the command out. Raises UserError."""
    _check_numbers(options)
    captions = _captions(options)
    from dmgan.drawing.text_to_image import TextToImage

    model = TextToImage.from_run(run.url, options.step, options.device, options.dtype, config=config)
    plan = _plan(options, captions, model)
    writing = _writing(options, plan, model)
    if replaced := writing.check():
        print(f"dmgan: warning: --out {options.out}: {replaced} files of an earlier call are replaced", file=sys.stderr)
    from dmgan.drawing.generate import pictures

    writing.write(pictures(model, plan, writing.look, options.batch_size))
    grids = [f"{writing.output.url}/{name}" for name in writing.grids]
    shown = grids[0] if len(grids) == 1 else f"{grids[0]} … {grids[-1]}"
    print(f"{len(plan)} images in {writing.output.url}, all captions in {shown}")


def _check_numbers(options: argparse.Namespace) -> None:
    for flag, least in (("count", 1), ("batch_size", 1), ("shards", 1), ("seed", 0), ("step", 0)):
        if (value := getattr(options, flag)) is not None and value < least:
            raise ConfigError(f"--{flag.replace('_', '-')} {value}: expected at least {least}")


def _captions(options: argparse.Namespace) -> list[str]:
    """The captions asked for; none with --vary."""
    captions = list(options.caption)
    if options.captions is not None:
        text = read_text(options.captions, "--captions ")
        captions += [line.strip() for line in text.splitlines() if line.strip()]
    if captions and options.vary is not None:
        raise ConfigError("--vary: makes the captions itself; expected no --caption and no --captions beside it")
    if not captions and options.vary is None:
        raise ConfigError("generate: no captions; give --caption TEXT or --captions FILE")
    return captions


def _plan(options: argparse.Namespace, captions: list[str], model: TextToImage) -> Plan:
    """What is drawn; warns of what is not read. Raises DrawingError."""
    from dmgan.drawing.plan import captions_plan, template_plan
    from dmgan.drawing.prompts import parse_template, usable_captions

    template = None if options.vary is None else parse_template(options.vary)
    usable, warnings = usable_captions(captions if template is None else template.captions, model)
    if template is not None and len(usable) < len(template.captions):
        raise ConfigError(f"--vary: {warnings[0].replace('; nothing is drawn of it', '')}")
    for warning in warnings:
        print(f"dmgan: warning: {warning}", file=sys.stderr)
    if template is not None:
        return template_plan(template, options.count, options.seed, options.truncation)
    return captions_plan(usable, options.count, options.seed, options.truncation)


def _writing(options: argparse.Namespace, plan: Plan, model: TextToImage) -> Writing:
    from datasets import storage
    from dmgan.drawing.generate import Writing
    from dmgan.drawing.output import Folder, Output, Shards
    from dmgan.drawing.picture import Look

    url = output_folder(options.out)
    output: Output
    if options.shards is None and storage.is_local(url):
        output = Folder(url, plan, options.format)
    else:
        shards = options.shards or -(-len(plan) // _SHARD)
        if shards > len(plan):
            raise ConfigError(f"--shards {shards}: expected at most {len(plan)}, the pictures that are made")
        output = Shards(url, len(plan), shards)
    look = Look(options.format, options.stages, model.name, model.step)
    return Writing(plan, look, len(model.resolutions) if options.stages else 1, output)
