"""`export`: a run to take away. Its flags, and what it does with them."""

from __future__ import annotations

import argparse

from cluster.driver.submitted import output_folder
from datasets.terminal import warn
from dmgan.cli.command import Command, installed, on_a_run, run_and_configuration
from dmgan.cli.evaluate import check_trained
from dmgan.config import ConfigError

__all__ = ["EXPORT"]


def flags(parser: argparse.ArgumentParser) -> None:
    on_a_run(parser)
    parser.add_argument(
        "--format", action="append", metavar="NAME", help="onnx, torchscript or safetensors (default); repeatable"
    )
    parser.add_argument("--out", metavar="DIR_OR_S3_URL", help="where the model's folder is written")
    parser.add_argument("--license", default="other", metavar="ID", help="for the model card, such as mit")
    parser.add_argument("--step", type=int, metavar="N", help="the generator of the run's checkpoint at that step")
    parser.add_argument(
        "--caption", action="append", default=[], metavar="TEXT", help="of the card's sample pictures; repeatable"
    )


def carry_out(options: argparse.Namespace) -> int:
    folder, config = run_and_configuration(options, there=True)
    if options.out is None:
        raise ConfigError("--out: not given; expected a folder, or s3://bucket/path")
    if options.workers is not None:
        raise ConfigError("--workers: goes not with `export`, which one process does")
    check_trained(folder)
    with installed():
        from dmgan.drawing.prompts import usable_captions
        from dmgan.drawing.text_to_image import TextToImage
        from dmgan.evaluation.record import read_evaluation
        from dmgan.export.write import check_folder, export
        from dmgan.runs.run import Run
    formats = list(dict.fromkeys(options.format or ["safetensors"]))
    url = output_folder(options.out)
    replaced = check_folder(url, formats)
    model = TextToImage.from_run(folder.url, options.step, "cpu", config=config)
    captions = usable_captions(options.caption, model)[0] if options.caption else []
    if replaced:
        warn(f"--out {options.out}: {replaced} files of an earlier export are replaced")
    names = export(model, read_evaluation(Run(folder.url)), url, formats, options.license, captions)
    print(f"{folder.name}, step {model.step}, in {url}: {', '.join(names)}")
    return 0


EXPORT = Command("a trained run in ONNX, TorchScript or safetensors, with a model card", flags, carry_out)
