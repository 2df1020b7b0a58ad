"""README.md of an exported model, in the layout of a Hub repository: YAML for machines, then text for people."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from datasets.documents import dump_yaml
from dmgan import __version__
from dmgan.drawing.grid import Grid
from dmgan.drawing.request import Request
from dmgan.drawing.text_to_image import TextToImage
from dmgan.evaluation.record import Evaluation

__all__ = ["Samples", "card", "samples_of"]

_TEMPLATES = Path(__file__).parent / "templates"
_CAPTIONS = 4  # of the best and of the worst match
_COLUMNS = 4  # noises of a sample caption


class Samples:
    """The card's picture, and what it is of."""

    def __init__(self, model: TextToImage, captions: Sequence[str], text: str) -> None:
        self.captions, self.text = list(captions), text
        written: list[bytes] = []
        grid = Grid(["samples.png"], [""] * _COLUMNS, 1, lambda name, content: written.append(content))
        requests = [Request(caption, number) for caption in self.captions for number in range(_COLUMNS)]
        for index, drawing in enumerate(model.draw(requests)):
            tile = np.asarray(drawing.image.resize((128, 128), Image.Resampling.LANCZOS))
            grid.add(index // _COLUMNS, drawing.caption, [tile])
        grid.close()
        self.png = _small(written[0])


def _small(content: bytes) -> bytes:
    """The PNG with 256 colours, a third of the size."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        picture.quantize(256).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def samples_of(model: TextToImage, evaluation: Evaluation | None, captions: Sequence[str]) -> Samples | None:
    """Of the captions given, else of those that the evaluation found to match best and worst."""
    if captions:
        return Samples(model, captions, f"{_COLUMNS} noises of each caption, not chosen.")
    if evaluation is None:
        return None
    best, worst = ([each.caption for each in found[:_CAPTIONS]] for found in (evaluation.best, evaluation.worst))
    known = [caption for caption in dict.fromkeys((*best, *worst)) if model.read(caption).words]
    if not known:
        return None
    text = (
        f"{_COLUMNS} noises of each caption, not chosen: of those that the evaluation found to match best, then worst."
    )
    return Samples(model, known, text)


def card(
    model: TextToImage, evaluation: Evaluation | None, samples: Samples | None, formats: Sequence[str], license: str
) -> str:
    """The text of README.md."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    data = (evaluation.data if evaluation is not None else model.config.data.url).rstrip("/").rsplit("/", 1)[-1]
    return environment.get_template("card.md").render(
        head=dump_yaml(_head(model, data, license)),
        name=model.name,
        version=__version__,
        config=model.config,
        step=model.step,
        sizes=model.resolutions,
        samples=None if samples is None else samples.text,
        evaluation=evaluation,
        data=data,
        scores=_scores(evaluation),
        max_words=model.max_words,
        reads=_reads(model),
        noise_dim=model.generator.noise_dim,
        condition_dim=model.generator.condition_dim,
        formats=formats,
        example=_literal(samples.captions[0] if samples is not None else _example(model)),
    )


def _head(model: TextToImage, data: str, license: str) -> dict[str, object]:
    head: dict[str, object] = {
        "license": license,
        "library_name": "dmgan",
        "pipeline_tag": "text-to-image",
        "tags": ["text-to-image", "gan", model.config.model.architecture],
    }
    return {**head, "datasets": [data]} if data else head


def _scores(evaluation: Evaluation | None) -> list[dict[str, str]]:
    if evaluation is None:
        return []
    return [
        {
            "label": score.label,
            "value": score.shown(evaluation.values),
            "real": evaluation.ceiling(score),
            "better": score.better,
        }
        for score in evaluation.scores
    ]


def _reads(model: TextToImage) -> str:
    kind = model.config.text.tokenizer
    if model.vocabulary is not None:
        return f"It knows {len(model.vocabulary):,} words, and leaves others out."
    return "It reads byte pairs, so no word is unknown." if kind == "bpe" else "It reads characters."


def _example(model: TextToImage) -> str:
    return "this bird is red" if model.read("this bird is red").words else model.tokenizer.decode([1])[0]


def _literal(caption: str) -> str:
    """As a Python text."""
    return '"' + caption.replace("\\", "\\\\").replace('"', '\\"') + '"'
