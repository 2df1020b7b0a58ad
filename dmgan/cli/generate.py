"""`generate`: pictures from captions with a trained run. Its flags, and what it does with them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.driver.submitted import output_folder
from datasets.documents import read_text
from datasets.terminal import warn
from dmgan.allocator import keep_freed_memory
from dmgan.cli.command import Command, installed, on_a_run, run_and_configuration
from dmgan.config import Config, ConfigError

if TYPE_CHECKING:
    from dmgan.drawing.generate import Writing
    from dmgan.drawing.plan import Plan
    from dmgan.drawing.text_to_image import TextToImage
    from dmgan.runs.run import Run

__all__ = ["GENERATE"]

_PICTURES = ("png", "webp", "jpeg")
_ANIMATIONS = ("webp", "gif", "mp4")
_SHARD = 1000  # pictures of one, where their number is not given
_MAX_FRAMES = 3600  # three minutes


def flags(parser: argparse.ArgumentParser) -> None:
    on_a_run(parser)
    what = parser.add_argument_group("what is drawn")
    what.add_argument("--caption", action="append", default=[], metavar="TEXT", help="repeatable")
    what.add_argument("--captions", type=Path, metavar="FILE", help="a file with one caption a line")
    what.add_argument("--vary", metavar="TEXT", help="a caption with choices, 'a {red,blue} bird', all of one noise")
    what.add_argument("--interpolate", nargs=2, metavar="TEXT", help="an animation from one caption to another")
    what.add_argument("--between-noises", metavar="TEXT", help="an animation from one noise to another of a caption")
    what.add_argument("--frames", type=int, metavar="N", help="of an animation, 20 a second (default 60)")
    what.add_argument("--count", type=int, metavar="N", help="pictures a caption (default 1)")
    what.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default 0)")
    what.add_argument("--truncation", type=float, metavar="T", help="keeps the noise within ±T: less variety")
    how = parser.add_argument_group("by which generator, and where")
    how.add_argument("--step", type=int, metavar="N", help="the generator of the run's checkpoint at that step")
    how.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    how.add_argument("--dtype", metavar="NAME", help="float32 (default), bfloat16 or float16")
    how.add_argument("--batch-size", type=int, default=16, metavar="N", help="pictures drawn at a time (default 16)")
    out = parser.add_argument_group("what is written")
    out.add_argument("--out", default="generated", metavar="DIR_OR_S3_URL", help="default ./generated")
    out.add_argument(
        "--format", metavar="NAME", help="png (default), webp or jpeg; of an animation webp (default), gif or mp4"
    )
    out.add_argument("--stages", action="store_true", default=None, help="also every stage's picture")
    out.add_argument(
        "--shards", type=int, metavar="N", help=f"N WebDataset tars (s3:// has tars of {_SHARD} pictures by default)"
    )


def carry_out(options: argparse.Namespace) -> int:
    folder, config = run_and_configuration(options, there=True)
    _check_numbers(options)
    with installed():
        from dmgan.runs.run import Run
    run = Run(folder.url)
    if options.interpolate is not None or options.between_noises is not None:
        _animate(options, config, run)
    else:
        _draw(options, config, run)
    return 0


def _check_numbers(options: argparse.Namespace) -> None:
    for flag, least in (("count", 1), ("batch_size", 1), ("shards", 1), ("seed", 0), ("step", 0), ("frames", 2)):
        if (value := getattr(options, flag)) is not None and value < least:
            raise ConfigError(f"{_flag(flag)} {value}: expected at least {least}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _alone(options: argparse.Namespace, flag: str, others: Sequence[str]) -> None:
    """Raise ConfigError where one of the other flags is given beside `flag`."""
    for other in others:
        if getattr(options, other) not in (None, []):
            raise ConfigError(f"{_flag(other)}: does not go with {flag}")


def _format(options: argparse.Namespace, known: Sequence[str], of: str) -> str:
    """The format of the files, by default the first one."""
    wanted: str = known[0] if options.format is None else options.format
    if wanted not in known:
        raise ConfigError(f"--format {wanted}: expected {', '.join(known)} of {of}")
    return wanted


def _model(options: argparse.Namespace, config: Config, run: Run) -> TextToImage:
    from dmgan.drawing.text_to_image import TextToImage

    # With workers this one reads captions alone, and leaves the devices to them.
    device = options.device if options.workers is None else "cpu"
    keep_freed_memory()
    return TextToImage.from_run(run.url, options.step, device, options.dtype, config=config)


def _draw(options: argparse.Namespace, config: Config, run: Run) -> None:
    """Pictures, each a file or a sample of a shard."""
    format, captions = _format(options, _PICTURES, "pictures"), _captions(options)
    if options.frames is not None:
        raise ConfigError("--frames: goes with --interpolate and --between-noises")
    model = _model(options, config, run)
    plan = _plan(options, captions, model)
    writing = _writing(options, plan, model, format)
    if replaced := writing.check():
        warn(f"--out {options.out}: {replaced} files of an earlier call are replaced")
    if options.workers is None:
        from dmgan.drawing.generate import pictures

        writing.write(pictures(model, plan, writing.look, options.batch_size))
    else:
        from cluster.drawing import Artist, pictures_on_cluster

        artist = Artist(run, config, model.step, options.device, options.dtype)
        with pictures_on_cluster(artist, plan, writing.look, options.batch_size) as made:
            writing.write(made)
    grids = [f"{writing.output.url}/{name}" for name in writing.grids]
    shown = grids[0] if len(grids) == 1 else f"{grids[0]} … {grids[-1]}"
    print(f"{len(plan)} images in {writing.output.url}, all captions in {shown}")


def _captions(options: argparse.Namespace) -> list[str]:
    """The captions asked for; none with --vary."""
    if options.vary is not None:
        _alone(options, "--vary", ("caption", "captions"))
        return []
    captions = list(options.caption)
    if options.captions is not None:
        text = read_text(options.captions, "--captions ")
        captions += [line.strip() for line in text.splitlines() if line.strip()]
    if not captions:
        raise ConfigError("generate: no captions; give --caption TEXT or --captions FILE")
    return captions


def _plan(options: argparse.Namespace, captions: list[str], model: TextToImage) -> Plan:
    """What is drawn; warns of what is not read. Raises DrawingError."""
    from dmgan.drawing.plan import captions_plan, template_plan
    from dmgan.drawing.prompts import parse_template

    count = options.count or 1
    if options.vary is None:
        return captions_plan(_usable(captions, model), count, options.seed, options.truncation)
    template = parse_template(options.vary)
    _usable(template.captions, model, "--vary")
    return template_plan(template, count, options.seed, options.truncation)


def _usable(captions: Sequence[str], model: TextToImage, all_of: str | None = None) -> list[str]:
    """The captions that can be drawn; of those of flag `all_of` none may be left out. Raises DrawingError."""
    from dmgan.drawing.prompts import usable_captions

    usable, warnings = usable_captions(captions, model)
    if all_of is not None and len(usable) < len(captions):
        raise ConfigError(f"{all_of}: {warnings[0].replace('; nothing is drawn of it', '')}")
    for warning in warnings:
        warn(warning)
    return usable


def _writing(options: argparse.Namespace, plan: Plan, model: TextToImage, format: str) -> Writing:
    from datasets import storage
    from dmgan.drawing.generate import Writing
    from dmgan.drawing.output import Folder, Output, Shards
    from dmgan.drawing.picture import Look

    url = output_folder(options.out)
    output: Output
    if options.shards is None and storage.is_local(url):
        output = Folder(url, plan, format)
    else:
        shards = options.shards or -(-len(plan) // _SHARD)
        if shards > len(plan):
            raise ConfigError(f"--shards {shards}: expected at most {len(plan)}, the pictures that are made")
        output = Shards(url, len(plan), shards)
    stages = bool(options.stages)
    look = Look(format, stages, model.name, model.step)
    return Writing(plan, look, len(model.resolutions) if stages else 1, output)


def _animate(options: argparse.Namespace, config: Config, run: Run) -> None:
    """One animated file."""
    flag = "--interpolate" if options.interpolate is not None else "--between-noises"
    others = ("caption", "captions", "vary", "count", "stages", "shards", "workers")
    _alone(options, flag, (*others, "between_noises") if flag == "--interpolate" else others)
    format, frames = _format(options, _ANIMATIONS, "an animation"), options.frames or 60
    if frames > _MAX_FRAMES:
        raise ConfigError(f"--frames {frames}: expected at most {_MAX_FRAMES}")
    from tqdm import tqdm

    from datasets import storage
    from dmgan.drawing.animation import animation, check_animation
    from dmgan.drawing.interpolation import frames_between
    from dmgan.drawing.output import slug
    from dmgan.drawing.request import Request

    check_animation(format)
    model = _model(options, config, run)
    first, last = options.interpolate or [options.between_noises] * 2
    _usable(list(dict.fromkeys((first, last))), model, flag)
    ends = [Request(first, 0, options.seed, options.truncation)]
    ends.append(Request(last, int(options.interpolate is None), options.seed, options.truncation))
    name = f"{slug(first)}-to-{slug(last)}" if options.interpolate is not None else f"{slug(first)}-noises"
    url = storage.join(output_folder(options.out), f"{name}.{format}")
    if storage.exists(url):
        warn(f"{url}: is replaced")
    drawn = frames_between(model, ends[0], ends[1], frames, options.batch_size)
    shown = tqdm(drawn, total=frames, desc="draw", unit="frame", disable=None, dynamic_ncols=True)
    storage.write_bytes(url, animation(iter(shown), format))
    print(f"{frames} frames in {url}")


GENERATE = Command("pictures and animations from captions with a trained run", flags, carry_out)
