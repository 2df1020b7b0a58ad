"""A report's pictures: samples with real images and other noises, over the steps of training, and of other runs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from PIL import Image, ImageOps

from datasets import storage
from datasets.captions import load_captions
from datasets.errors import UserError, short_reason
from datasets.manifest import load_manifest
from datasets.pages.kit import picture
from datasets.shards import read_samples
from dmgan.config import Config, with_values
from dmgan.model.generator import GeneratorOutput
from dmgan.pixels import to_array
from dmgan.runs.reading import read_options
from dmgan.runs.run import Run
from dmgan.runs.samples import FixedSamples, read_grid, sample_captions

__all__ = [
    "NOISES",
    "Timeline",
    "beside_columns",
    "bounded",
    "fixed_captions",
    "real_images",
    "sample_cards",
    "timeline",
]

NOISES = 4  # pictures of each caption beside its fixed one
_LARGEST = 256  # pixels of an image in the page
_SMALL = 128  # of those that there are many of
_FRAMES = 24  # steps of a timeline, at most


def fixed_captions(config: Config, run: Run) -> tuple[list[str], str | None]:
    """The captions of the run's samples, and what is to be said where they are not read from the dataset.

    The newest of the run's sample pictures has them too, for a report whose dataset is gone. Without one there are no
    captions.
    """
    try:
        return sample_captions(config), None
    except UserError as error:
        reason = short_reason(error)
    for step in sorted(_sample_steps(run), reverse=True):
        try:
            captions, _ = _grid(run, step)
        except (UserError, ValueError):
            continue
        return captions, f"The captions are those of samples/{_file(step)}, and there are no real images: {reason}"
    return [], f"There are no samples, as their captions cannot be read: {reason}"


def real_images(config: Config, captions: Sequence[str]) -> tuple[list[Markup | None], str | None]:
    """The dataset's image of each caption, and what is to be said where there is none. Never raises UserError."""
    nothing: list[Markup | None] = [None] * len(captions)
    try:
        found = _jpegs(config, captions)
    except UserError as error:
        return nothing, f"There are no real images beside the samples: {short_reason(error)}"
    except OSError as error:  # of Pillow, about an image
        return nothing, f"There are no real images beside the samples: {config.data.url}: {short_reason(error)}"
    if not found:
        return nothing, "There are no real images beside the samples: the dataset has none of their captions."
    images: list[Markup | None] = []
    for caption in captions:
        image = found.get(caption)
        images.append(None if image is None else picture(image, f"real image: {caption}"))
    missing = len(captions) - len(found.keys() & set(captions))
    return images, f"The dataset has no image of {missing} of the captions." if missing else None


def _jpegs(config: Config, captions: Sequence[str]) -> dict[str, np.ndarray]:
    """The first stored image of each caption that the dataset has, uint8 (S, S, 3) with its middle."""
    manifest, _ = load_manifest(config.data.url)
    wanted, images = set(captions), dict[str, np.ndarray]()
    size = min(_LARGEST, config.model.image_sizes[-1])
    for split in sorted(manifest.splits, key=lambda name: name != "test"):
        places: dict[str, int] = {}
        for position, entry in enumerate(load_captions(config.data.url, split, manifest)):
            for caption in wanted.intersection(entry.captions):
                places.setdefault(caption, position)
            if len(places) == len(wanted):
                break
        positions = np.array(sorted(set(places.values())), np.int64)
        samples, _ = read_samples(config.data.url, manifest.split(split), positions, read_options(config.data))
        by_position = dict(zip(positions.tolist(), samples, strict=True))
        for caption, position in places.items():
            if (sample := by_position[position]) is not None:
                with Image.open(io.BytesIO(sample.jpg)) as image:
                    images[caption] = np.asarray(ImageOps.fit(image.convert("RGB"), (size, size)))
        wanted -= images.keys()
        if not wanted:
            break
    return images


def sample_cards(
    samples: FixedSamples, output: GeneratorOutput, noises: Sequence[GeneratorOutput], real: Sequence[Markup | None]
) -> list[dict[str, object]]:
    """Of each caption its final image, the real one, the earlier stages and the final images with other noises."""
    stages = [to_array(images) for images in output.images]
    others = [to_array(other.images[-1]) for other in noises]
    cards: list[dict[str, object]] = []
    for row, caption in enumerate(samples.captions):
        final = stages[-1][row]
        early = [(f"{s.shape[1]} px", picture(bounded(s[row], _SMALL), caption)) for s in stages[:-1]]
        more = [(f"noise {i}", picture(bounded(o[row], _SMALL), caption)) for i, o in enumerate(others, start=2)]
        cards.append(
            {
                "caption": caption,
                "final": picture(bounded(final, _LARGEST), f"generated: {caption}"),
                "size": final.shape[0],
                "real": real[row],
                "stages": early,
                "noises": more,
            }
        )
    return cards


def bounded(image: np.ndarray, largest: int) -> np.ndarray:
    """The image uint8 (S, S, 3), made smaller where it has more than `largest` pixels a side."""
    if image.shape[0] <= largest:
        return image
    return np.asarray(Image.fromarray(image).resize((largest, largest), Image.Resampling.BOX))


@dataclass(frozen=True)
class Timeline:
    """The run's sample pictures over the steps of training, of some steps where there are many."""

    steps: list[int]
    rows: list[tuple[str, list[Markup]]]  # of each caption an image a step
    of: int  # steps that there are pictures of


def timeline(run: Run, pixels: int) -> tuple[Timeline | None, str | None]:
    """From samples/, and what is to be said of pictures that are left out; `pixels` is the side of the run's images."""
    there = sorted(_sample_steps(run))
    grids: dict[int, tuple[list[str], list[Image.Image]]] = {}
    problems = []
    for step in _spread(there, _FRAMES):
        try:
            grids[step] = _grid(run, step)
        except (UserError, ValueError) as error:
            problems.append(f"samples/{_file(step)}: {short_reason(error)}")
    note = f"{len(problems)} pictures could not be used, the first: {problems[0]}" if problems else None
    if not grids:
        return None, note
    captions = grids[max(grids)][0]
    same = {step: images for step, (of, images) in grids.items() if of == captions}
    if len(same) < len(grids):
        note = f"{note + '; ' if note else ''}{len(grids) - len(same)} pictures are of other captions and are left out"
    size = (min(pixels, _SMALL),) * 2
    rows = []
    for row, caption in enumerate(captions):
        images = [np.asarray(of[row].resize(size, Image.Resampling.BOX)) for of in same.values()]
        shown = [picture(i, f"step {step}: {caption}", 0) for step, i in zip(same, images, strict=True)]
        rows.append((caption, shown))
    return Timeline(list(same), rows, len(there)), note


def _spread(steps: Sequence[int], count: int) -> list[int]:
    """At most `count` of the steps, the first and the last among them."""
    if len(steps) <= count:
        return list(steps)
    return [steps[i] for i in np.linspace(0, len(steps) - 1, count).round().astype(int)]


def _file(step: int) -> str:
    return f"step_{step:08d}.png"


def _sample_steps(run: Run) -> list[int]:
    names = storage.list_sizes(run.path("samples")) if run.has("samples") else {}
    numbers = [name.removeprefix("step_").removesuffix(".png") for name in names if name.endswith(".png")]
    return [int(number) for number in numbers if number.isdigit()]


def _grid(run: Run, step: int) -> tuple[list[str], list[Image.Image]]:
    return read_grid(storage.read_bytes(run.path("samples", _file(step))))


def beside_columns(runs: Sequence[Run], samples: FixedSamples, seed: int) -> tuple[list[dict[str, object]], list[str]]:
    """The final images of other runs for the captions and noises of `samples`, and a line of each run without."""
    columns: list[dict[str, object]] = []
    problems = []
    for run in runs:
        try:
            config = with_values(run.read_config(), {"train.seed": seed})  # the noise of all
            own = FixedSamples(run.load_encoders(config), run.read_tokenizer(config), samples.captions, config)
            images = to_array(own.output(run.load_generator()).images[-1])
        except UserError as error:
            problems.append(f"There are no samples of {run.name}: {short_reason(error)}")
            continue
        shown = [picture(bounded(i, _LARGEST), c) for i, c in zip(images, samples.captions, strict=True)]
        columns.append({"name": run.name, "step": run.trained_steps(), "images": shown})
    return columns, problems
