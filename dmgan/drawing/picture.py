"""A drawing as the files it becomes."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dmgan.drawing.result import Drawing
from dmgan.runs.words import top_words

__all__ = ["FORMATS", "TILE", "Look", "Picture", "encoded"]

TILE = 128  # pixels a side, at most, of a picture on a grid

FORMATS: dict[str, dict[str, Any]] = {
    "png": {},  # exact
    "webp": {"quality": 95, "method": 4},
    "jpeg": {"quality": 95, "subsampling": 0},
}


@dataclass(frozen=True)
class Look:
    """What is kept of a drawing: in which format, with its stages or without, and the run that it is of."""

    format: str
    stages: bool
    run: str
    step: int

    def picture(self, drawing: Drawing) -> Picture:
        """The drawing's files; needs neither the networks nor a device."""
        images = drawing.stages
        files = {self.format: encoded(images[-1], self.format)}
        if self.stages:
            files |= {f"stage{i}.{self.format}": encoded(image, self.format) for i, image in enumerate(images)}
        shown = images if self.stages else images[-1:]
        return Picture(files, [_tile(image) for image in shown], self._record(drawing), _notes(drawing))

    def _record(self, drawing: Drawing) -> dict[str, object]:
        def rounded(values: list[np.ndarray]) -> list[list[float]]:
            return [[round(float(value), 4) for value in of_refinement] for of_refinement in values]

        return {
            "caption": drawing.caption,
            "number": drawing.number,
            "seed": drawing.seed,
            "truncation": drawing.truncation,
            "noise_caption": drawing.noise_caption,
            "words": drawing.words,
            "unknown_words": drawing.unknown_words,
            "reading": rounded(drawing.reading),
            "writing_gates": rounded(drawing.writing_gates),
            "run": self.run,
            "step": self.step,
        }


@dataclass(frozen=True)
class Picture:
    """`files` by extension, `tiles` for the grid (uint8 (h, w, 3)), what stands in its JSON, and lines of words.txt."""

    files: dict[str, bytes]
    tiles: list[np.ndarray]
    record: dict[str, object]
    notes: list[str]

    @property
    def sidecars(self) -> dict[str, bytes]:
        """The caption and the record, as they stand beside an image in a shard."""
        written = json.dumps(self.record, ensure_ascii=False)
        return {
            "txt": str(self.record["caption"]).encode("utf-8", "replace"),
            "json": written.encode("utf-8", "replace"),
        }


def encoded(image: Image.Image, format: str) -> bytes:
    """The image's file in one of `FORMATS`."""
    buffer = io.BytesIO()
    image.save(buffer, format.upper(), **FORMATS[format])
    return buffer.getvalue()


def _tile(image: Image.Image) -> np.ndarray:
    if image.width > TILE:
        image = image.resize((TILE, TILE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _notes(drawing: Drawing) -> list[str]:
    """What the memory wrote and read most for the caption's first noise."""
    if drawing.number:
        return []
    notes = []
    for refinement, top in enumerate(top_words(drawing.reading, drawing.writing_gates, drawing.words), start=1):
        for kind, entries in top.items():
            listed = ", ".join(f"{word} {value:.2f}" for _, word, value in entries)
            notes.append(f"{drawing.caption} | refinement {refinement} | {kind}: {listed}")
    return notes
