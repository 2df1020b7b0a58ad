"""Generating from captions, and the picture of fixed captions and noise that a run leaves as it trains."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from datasets.captions import load_captions
from datasets.manifest import load_manifest
from dmgan.config import Config, absolute_paths
from dmgan.model.build import Encoders
from dmgan.model.generator import GeneratorOutput
from dmgan.model.tokenizers import Tokenizer
from dmgan.pixels import to_array
from dmgan.runs.run import Run
from dmgan.seeds import seed_of
from dmgan.training.batch import caption_tensors

__all__ = ["FixedSamples", "caption_grid", "generate", "read_grid", "sample_captions", "samples_of"]

_PLACE = "dmgan"  # the key of a grid's text


@torch.no_grad()
def generate(
    generator: nn.Module, encoders: Encoders, captions: Tensor, lengths: Tensor, noise: Tensor
) -> GeneratorOutput:
    """Images for captions (B, T) with noise (B, Z); the condition is its mean μ(s), without a draw."""
    words, sentence = encoders.text(captions, lengths)
    eps = torch.zeros(len(noise), int(generator.condition_dim), device=noise.device)  # type: ignore[arg-type]
    out: GeneratorOutput = generator(noise, sentence, words, captions == 0, eps)
    return out


class FixedSamples:
    """The same captions and noise at every call: one row a caption, one column a stage."""

    ROWS = 8

    def __init__(self, encoders: Encoders, tokenizer: Tokenizer, captions: Sequence[str], config: Config) -> None:
        self.captions, self.encoders = list(captions), encoders
        device = next(encoders.parameters()).device
        self.tokenizer = tokenizer
        numbers, lengths = caption_tensors(captions, tokenizer, config.evaluate.max_words)
        self.numbers, self.lengths = numbers.to(device), lengths
        self._seed, self._shape = config.train.seed, (len(captions), config.model.noise_dim)

    def words(self, row: int) -> list[str]:
        """What the encoder reads of a caption."""
        return self.tokenizer.decode(self.numbers[row][: int(self.lengths[row])].tolist())

    def output(self, generator: nn.Module, number: int = 0) -> GeneratorOutput:
        """With the noise that pictures of training have, or with the others, of `number` 1, 2, ….

        It is the same for every run of the same seed whose noise is as long.
        """
        seed = seed_of(self._seed, number) if number else self._seed
        noise = torch.randn(self._shape, generator=torch.Generator().manual_seed(seed)).to(self.numbers.device)
        return generate(generator, self.encoders, self.numbers, self.lengths, noise)

    def png(self, generator: nn.Module) -> bytes:
        stages = [to_array(images) for images in self.output(generator).images]
        return caption_grid(self.captions, [[stage[row] for stage in stages] for row in range(len(self.captions))])


def samples_of(config: Config, run: Run, encoders: Encoders) -> FixedSamples:
    """The run's fixed captions and noise."""
    return FixedSamples(encoders, run.read_tokenizer(config), sample_captions(config), config)


def sample_captions(config: Config) -> list[str]:
    """`samples.captions`, else the first captions of a few test classes, of training where there are no test images."""
    own = absolute_paths(config).samples.captions
    if own is not None:
        return list(own)
    chosen: dict[int, str] = {}
    manifest, _ = load_manifest(config.data.url)
    split = "test" if "test" in manifest.splits else "train"
    for entry in load_captions(config.data.url, split, manifest):
        chosen.setdefault(entry.class_id, entry.captions[0])
    step = max(1, len(chosen) // FixedSamples.ROWS)
    return list(chosen.values())[::step][: FixedSamples.ROWS]


def caption_grid(
    captions: Sequence[str], rows: Sequence[Sequence[np.ndarray]], cell: int = 128, columns: Sequence[str] = ()
) -> bytes:
    """A PNG with one row a caption: its text and its images (h, w, 3), each enlarged to at least `cell` pixels.

    `columns` are texts above the images. The PNG says in itself what is where, for `read_grid`.
    """
    cell = max(cell, *(image.shape[0] for row in rows for image in row))
    font, gap, text_width = ImageFont.load_default(size=13), 6, 210
    header = 24 if columns else 0
    width = text_width + max(len(row) for row in rows) * (cell + gap)
    picture = Image.new("RGB", (width, header + len(rows) * (cell + gap) + gap), "white")
    pen = ImageDraw.Draw(picture)
    for c, column in enumerate(columns):
        pen.text((text_width + c * (cell + gap), gap), column[: cell // 7], fill="black", font=font)
    for r, (caption, images) in enumerate(zip(captions, rows, strict=True)):
        top = header + gap + r * (cell + gap)
        pen.multiline_text((gap, top + 4), "\n".join(textwrap.wrap(caption, 30)), fill="black", font=font, spacing=5)
        for c, pixels in enumerate(images):
            image = Image.fromarray(pixels).resize((cell, cell), Image.Resampling.NEAREST)
            picture.paste(image, (text_width + c * (cell + gap), top))
    place = _Place(captions=tuple(captions), top=header + gap, cell=cell, gap=gap)
    about = PngInfo()
    about.add_itxt(_PLACE, place.model_dump_json())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


class _Place(BaseModel):
    """Where a grid's images are, in pixels; it stands in the PNG beside them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    captions: tuple[str, ...]
    top: int
    cell: Annotated[int, Field(gt=0)]
    gap: Annotated[int, Field(ge=0)]


def read_grid(content: bytes) -> tuple[list[str], list[Image.Image]]:
    """The captions of a PNG that `caption_grid` made, and the last image of each row as it is enlarged there.

    Raises ValueError for any other file.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            place = _Place.model_validate_json(str(picture.info.get(_PLACE)))
            whole = picture.convert("RGB")
    except (OSError, SyntaxError, ValidationError):
        raise ValueError("not a picture of captions and their images, or one of an older version") from None
    left, step = whole.width - place.cell - place.gap, place.cell + place.gap
    tops = [place.top + row * step for row in range(len(place.captions))]
    return list(place.captions), [whole.crop((left, top, left + place.cell, top + place.cell)) for top in tops]
