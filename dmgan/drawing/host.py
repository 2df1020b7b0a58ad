"""From a generator's output on a device to drawings in memory.

Shapes: B drawings of a batch, T tokens, h×w pixels of a refinement's input, H×W of a stage's image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dmgan.drawing.request import Request
from dmgan.drawing.result import Drawing, Maps
from dmgan.model.generator import GeneratorOutput
from dmgan.pixels import to_array

__all__ = ["OnHost", "on_host"]


@dataclass(frozen=True)
class OnHost:
    """A batch's output; a list entry a stage (`pixels`) or a refinement."""

    pixels: list[np.ndarray]  # uint8 (B, H, W, 3)
    reading: list[np.ndarray]  # float32 (B, T)
    writing_gates: list[np.ndarray]  # float32 (B, T)
    attention: list[np.ndarray]  # float32 (B, T, h, w)
    response_gates: list[np.ndarray]  # float32 (B, h, w)

    def drawing(self, row: int, request: Request, words: list[str], unknown_words: list[str]) -> Drawing:
        """The drawing of a row, in memory of its own: it does not keep the batch."""
        length = len(words)
        return Drawing(
            caption=request.caption,
            number=request.number,
            seed=request.seed,
            truncation=request.truncation,
            noise_caption=request.noise_caption,
            pixels=tuple(np.ascontiguousarray(pixels[row]) for pixels in self.pixels),
            words=words,
            unknown_words=unknown_words,
            reading=_rows(self.reading, row, length),
            writing_gates=_rows(self.writing_gates, row, length),
            maps=Maps(_rows(self.attention, row, length), [gates[row].copy() for gates in self.response_gates]),
        )


def on_host(output: GeneratorOutput, maps: bool) -> OnHost:
    """What of the output drawings hold; attention and response gates with `maps` alone."""
    return OnHost(
        pixels=[to_array(images) for images in output.images],
        reading=[weights.float().mean((2, 3)).cpu().numpy() for weights in output.attention],
        writing_gates=[gates[:, 0].float().cpu().numpy() for gates in output.writing_gates],
        attention=[weights.float().cpu().numpy() for weights in output.attention] if maps else [],
        response_gates=[gates[:, 0].float().cpu().numpy() for gates in output.response_gates] if maps else [],
    )


def _rows(values: Sequence[np.ndarray], row: int, length: int) -> list[np.ndarray]:
    return [value[row, :length].copy() for value in values]
