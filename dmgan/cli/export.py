"""`export`: a run to take away. Its flags, and what it does with them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from cluster.driver.submitted import output_folder
from dmgan.config import Config, ConfigError

if TYPE_CHECKING:
    from dmgan.runs.run import Run

__all__ = ["add_flags", "export"]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that `export` alone has."""
    parser.add_argument(
        "--format", action="append", metavar="NAME", help="onnx, torchscript or safetensors (default); repeatable"
    )
    parser.add_argument("--out", metavar="DIR_OR_S3_URL", help="where the model's folder is written")
    parser.add_argument("--license", default="other", metavar="ID", help="for the model card, such as mit")
    parser.add_argument("--step", type=int, metavar="N", help="the generator of the run's checkpoint at that step")
    parser.add_argument(
        "--caption", action="append", default=[], metavar="TEXT", help="of the card's sample pictures; repeatable"
    )


def export(options: argparse.Namespace, config: Config, run: Run) -> None:
    """Carry the command out. Raises UserError."""
    from dmgan.drawing.prompts import usable_captions
    from dmgan.drawing.text_to_image import TextToImage
    from dmgan.evaluation.record import read_evaluation
    from dmgan.export.write import check_folder
    from dmgan.export.write import export as write

    if options.out is None:
        raise ConfigError("--out: not given; expected a folder, or s3://bucket/path")
    formats = list(dict.fromkeys(options.format or ["safetensors"]))
    url = output_folder(options.out)
    replaced = check_folder(url, formats)
    model = TextToImage.from_run(run.url, options.step, "cpu", config=config)
    if options.caption:
        usable_captions(options.caption, model)
    if replaced:
        print(
            f"dmgan: warning: --out {options.out}: {replaced} files of an earlier export are replaced", file=sys.stderr
        )
    names = write(model, read_evaluation(run), url, formats, options.license, options.caption)
    print(f"{run.name}, step {model.step}, in {url}: {', '.join(names)}")
