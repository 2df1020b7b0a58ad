"""The paper's Figures 3 to 6 of any runs that share a dataset: PNGs, and one page with all of them."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from datasets.pages.kit import picture, render
from dmgan.config import ConfigError
from dmgan.model.generator import Generator, GeneratorOutput
from dmgan.pixels import to_array
from dmgan.report.heat import heat
from dmgan.runs.run import Run
from dmgan.runs.samples import generate, sample_captions
from dmgan.runs.words import top_words
from dmgan.seeds import seed_of
from dmgan.training.batch import caption_tensors

__all__ = ["System", "grid_png", "load_systems", "write_figures"]

_CELL, _GAP, _LABEL, _HEAD = 112, 6, 150, 64  # pixels; the header grows with its texts
_LINE = 15  # pixels of a line of the header
_TEMPLATES = Path(__file__).parent / "templates"
_NOISES = 8  # of Figure 5
_WORD_CAPTIONS = 2  # of Figure 6


@dataclass(frozen=True)
class _Figure:
    """A grid of pictures: a header above the columns, a label before every row, a text under a picture or none."""

    name: str
    title: str
    header: list[str]
    rows: list[tuple[str, list[np.ndarray]]]
    notes: list[list[str]]  # under each picture of each row


class System:
    """A run, ready to draw: the same captions with the same noise as any other of its sizes."""

    def __init__(self, name: str, run: Run, captions: Sequence[str], seed: int) -> None:
        """Raises ConfigError, UnknownWordsError for a caption that it cannot read."""
        self.name, self._seed = name.replace("/", "-"), seed  # of a sweep's trial NAME-trials-ID; files have it
        config = run.read_config()
        self._generator: Generator = run.load_generator()
        self._encoders, self._tokenizer = run.load_encoders(config), run.read_tokenizer(config)
        self._ids, self._lengths = caption_tensors(captions, self._tokenizer, config.evaluate.max_words)
        self.output: GeneratorOutput = self._draw(range(len(captions)), [0] * len(captions))

    def _draw(self, rows: Sequence[int], noises: Sequence[int]) -> GeneratorOutput:
        """Of captions `rows` each with the noise of that number."""
        chosen = torch.tensor(list(rows))
        draws = [torch.Generator().manual_seed(seed_of(self._seed, number)) for number in noises]
        noise = torch.stack([torch.randn(self._generator.noise_dim, generator=draw) for draw in draws])
        return generate(self._generator, self._encoders, self._ids[chosen], self._lengths[chosen], noise)

    def variations(self, row: int, count: int) -> Tensor:
        """Caption `row` with `count` noises: images (count, 3, S, S)."""
        return self._draw([row] * count, range(count)).images[-1]

    def words(self, row: int) -> list[str]:
        return self._tokenizer.decode(self._ids[row][: int(self._lengths[row])].tolist())


def load_systems(
    runs: Mapping[str, Run], captions: Sequence[str], count: int, seed: int
) -> tuple[list[System], list[str]]:
    """The runs, by their names, ready to draw, and the captions: those given, or `count` of the dataset's unseen ones.

    Raises ConfigError where the runs are of several datasets.
    """
    configs = {name: run.read_config() for name, run in runs.items()}
    one, first = next(iter(configs.items()))
    for name, config in configs.items():
        if (url := config.data.url) != first.data.url:
            shared = "expected runs that share a dataset"
            raise ConfigError(f"--runs: {name} is of {url}, {one} of {first.data.url}; {shared}")
    chosen = list(captions) or sample_captions(first)[:count]
    return [System(name, run, chosen, seed) for name, run in runs.items()], chosen


def write_figures(systems: Sequence[System], captions: Sequence[str], out: Path) -> Path:
    """Write figure-3.png, figure-4-RUN.png, … and figures.html to `out`; where the page is. Raises OSError."""
    figures = [_figure_3(systems, captions)]
    for system in systems:
        figures += _figures_of(system, captions)
    out.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        (out / f"{figure.name}.png").write_bytes(grid_png(figure.header, figure.rows, figure.notes))
    shown = [
        {
            "title": figure.title,
            "header": figure.header,
            "rows": [
                (label, [(picture(image, label), note) for image, note in zip(images, notes, strict=True)])
                for (label, images), notes in zip(figure.rows, figure.notes, strict=True)
            ],
        }
        for figure in figures
    ]
    page = out / "figures.html"
    context = {"title": "Figures 3 to 6", "figures": shown, "systems": ", ".join(s.name for s in systems)}
    page.write_bytes(render("figures.html", context, [_TEMPLATES]))
    return page


def _figure_3(systems: Sequence[System], captions: Sequence[str]) -> _Figure:
    rows = [(system.name, list(to_array(system.output.images[-1]))) for system in systems]
    return _plain("figure-3", "Figure 3: the same captions and noise, a row a system", list(captions), rows)


def _figures_of(system: System, captions: Sequence[str]) -> list[_Figure]:
    """Figures 4 and 5, and 6 of a system that attends to words."""
    stages = [to_array(images) for images in system.output.images]
    header = [f"{stage.shape[1]} pixels" for stage in stages]
    rows = [(caption, [stage[i] for stage in stages]) for i, caption in enumerate(captions)]
    many = list(to_array(system.variations(0, _NOISES)))
    found = [
        _plain(f"figure-4-{system.name}", f"Figure 4: the stages of {system.name}", header, rows),
        _plain(
            f"figure-5-{system.name}",
            f"Figure 5: one caption with {_NOISES} noises, {system.name}",
            [f"noise {i + 1}" for i in range(_NOISES)],
            [(captions[0], many)],
        ),
    ]
    return [*found, _figure_6(system, captions)] if system.output.attention else found


def _figure_6(system: System, captions: Sequence[str]) -> _Figure:
    """The five words read most and, of a memory with a writing gate, written most, and where they are read."""
    rows, notes = list[tuple[str, list[np.ndarray]]](), list[list[str]]()
    for row in range(min(_WORD_CAPTIONS, len(captions))):
        reading = [attention[row].mean((1, 2)) for attention in system.output.attention]
        writing = [gates[row, 0] for gates in system.output.writing_gates]
        for i, stage in enumerate(top_words(reading, writing, system.words(row))):
            image = to_array(system.output.images[i + 1][row : row + 1])[0]
            attention = system.output.attention[i][row].cpu().numpy()
            for kind, text in (("read", "read by attention or key addressing"), ("written", "written by the gate")):
                top = stage.get(kind, [])
                if top:
                    label = f"{captions[row]} | refinement {i + 1}, {text}"
                    rows.append((label, [image, *(heat(image, attention[t]) for t, _, _ in top)]))
                    notes.append(["", *(f"{word} {value:.2f}" for _, word, value in top)])
    header = ["image", *(f"word {i + 1}" for i in range(max(len(images) for _, images in rows) - 1))]
    return _Figure(
        f"figure-6-{system.name}", f"Figure 6: words and where they are read, {system.name}", header, rows, notes
    )


def _plain(name: str, title: str, header: list[str], rows: list[tuple[str, list[np.ndarray]]]) -> _Figure:
    return _Figure(name, title, header, rows, [[""] * len(images) for _, images in rows])


def grid_png(
    header: Sequence[str], rows: Sequence[tuple[str, Sequence[np.ndarray]]], notes: Sequence[Sequence[str]]
) -> bytes:
    """A PNG of labelled rows of images uint8 (h, w, 3), each of at least 112 pixels, with its note under it.

    `header` has a text above every column; it and labels are wrapped, none is cut.
    """
    cell = max(_CELL, *(image.shape[0] for _, images in rows for image in images))
    font, small = ImageFont.load_default(size=12), ImageFont.load_default(size=11)
    note = 18 if any(any(texts) for texts in notes) else 0
    columns = max(len(images) for _, images in rows)
    headings = [textwrap.wrap(text, max(8, cell // 6)) for text in header]
    labels = [textwrap.wrap(label, 22) for label, _ in rows]
    head = max(_HEAD, 8 + _LINE * max(len(lines) for lines in headings))
    heights = [max(cell + note, 8 + _LINE * len(lines)) + _GAP for lines in labels]
    canvas = Image.new("RGB", (_LABEL + columns * (cell + _GAP), head + sum(heights) + _GAP), "white")
    pen = ImageDraw.Draw(canvas)
    for c, lines in enumerate(headings):
        pen.multiline_text((_LABEL + c * (cell + _GAP), 4), "\n".join(lines), fill="black", font=small)
    tops = accumulate(heights, initial=head)
    for top, lines, (_, images), texts in zip(tops, labels, rows, notes, strict=False):
        pen.multiline_text((_GAP, top + 4), "\n".join(lines), fill="black", font=font)
        for c, (pixels, text) in enumerate(zip(images, texts, strict=True)):
            image = Image.fromarray(pixels).resize((cell, cell), Image.Resampling.NEAREST)
            canvas.paste(image, (_LABEL + c * (cell + _GAP), top))
            pen.text((_LABEL + c * (cell + _GAP), top + cell + 2), text, fill="black", font=small)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
