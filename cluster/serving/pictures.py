"""What a replica is asked for, and drawings as files, made in the replica that drew them: what travels is small."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from cluster.serving.schema import Format
from dmgan import Drawing, Request

__all__ = ["Drawn", "DrawnRefinement", "Order", "drawn", "encode"]

# Quick ones: a file is sent once. WebP is without loss, as PNG is.
_OPTIONS: dict[Format, dict[str, object]] = {
    "png": {"compress_level": 1},
    "webp": {"lossless": True, "method": 0},
    "jpeg": {"quality": 92},
}


@dataclass(frozen=True)
class Order:
    """What a request asks of a replica. Every caption must have a word that is known."""

    requests: Sequence[Request]
    format: Format = "png"
    details: bool = False


@dataclass(frozen=True)
class DrawnRefinement:
    """A refinement's maps, as `cluster.serving.schema.Refinement` describes them."""

    attention: bytes | None
    size: tuple[int, int] | None
    reading: list[float]
    writing_gates: list[float]


@dataclass(frozen=True)
class Drawn:
    """A drawing as files: `stages` and `refinements` are empty unless they were asked for."""

    caption: str
    number: int
    seed: int
    truncation: float | None
    words: list[str]
    unknown_words: list[str]
    image: bytes
    stages: list[bytes] = field(default_factory=list)
    refinements: list[DrawnRefinement] = field(default_factory=list)


def drawn(drawing: Drawing, kind: Format, details: bool) -> Drawn:
    """A drawing's files; with `details`, of one that was drawn with maps, those of all stages."""
    stages = [encode(image, kind) for image in drawing.stages] if details else []
    return Drawn(
        caption=drawing.caption,
        number=drawing.number,
        seed=drawing.seed,
        truncation=drawing.truncation,
        words=drawing.words,
        unknown_words=drawing.unknown_words,
        image=stages[-1] if stages else encode(drawing.image, kind),
        stages=stages,
        refinements=_refinements(drawing) if details else [],
    )


def encode(image: Image.Image, kind: Format) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind.upper(), **_OPTIONS[kind])
    return buffer.getvalue()


def _refinements(drawing: Drawing) -> list[DrawnRefinement]:
    """An entry a refinement, also of architectures that read no words or write without a gate."""
    return [
        DrawnRefinement(
            attention=_strip(drawing.attention[i]) if i < len(drawing.attention) else None,
            size=(drawing.attention[i].shape[1], drawing.attention[i].shape[2]) if i < len(drawing.attention) else None,
            reading=_numbers(drawing.reading, i),
            writing_gates=_numbers(drawing.writing_gates, i),
        )
        for i in range(len(drawing.stages) - 1)
    ]


def _numbers(values: Sequence[np.ndarray], i: int) -> list[float]:
    return [round(float(value), 4) for value in values[i]] if i < len(values) else []


def _strip(attention: np.ndarray) -> bytes:
    """The maps (T, h, w) of weights 0 … 1 below one another, as a grey PNG."""
    words, height, width = attention.shape
    grey = np.rint(attention * 255).clip(0, 255).astype(np.uint8).reshape(words * height, width)
    return encode(Image.fromarray(grey), "png")
