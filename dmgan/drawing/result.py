"""What is drawn.

Shapes: T words that the text encoder read, h×w pixels of a refinement's input, H×W of a stage's image.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

__all__ = ["Drawing", "Maps", "Result"]


@dataclass(frozen=True, eq=False)
class Maps:
    """Where the memory was read and how strongly, a list entry a refinement; empty where an architecture has none."""

    attention: list[np.ndarray] = field(default_factory=list)  # Eq. 4's α, float32 (T, h, w); sums to 1 over the words
    response_gates: list[np.ndarray] = field(default_factory=list)  # Eq. 9's g_r, float32 (h, w), in 0 … 1


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture of a caption: noise `number` of `seed`, and how it came about."""

    caption: str
    number: int
    seed: int
    truncation: float | None
    noise_caption: str | None  # whose random numbers it has; its own where None
    pixels: tuple[np.ndarray, ...]  # uint8 (H, W, 3) of each stage, small to large
    words: list[str]  # that the encoder read, T of them; a caption beyond evaluate.max_words is cut
    unknown_words: list[str]  # of the caption, which the encoder did not read
    reading: list[np.ndarray]  # of each refinement α's mean over the pixels, float32 (T,)
    writing_gates: list[np.ndarray]  # of each refinement Eq. 7's g_w, float32 (T,), in 0 … 1; empty without that gate
    maps: Maps = field(default_factory=Maps, repr=False)

    @property
    def image(self) -> Image.Image:
        """The last stage's picture."""
        return Image.fromarray(self.pixels[-1])

    @property
    def stages(self) -> list[Image.Image]:
        """The picture of every stage, small to large."""
        return [Image.fromarray(pixels) for pixels in self.pixels]

    @property
    def attention(self) -> list[np.ndarray]:
        """Of each refinement α (T, h, w); empty where maps were not asked for."""
        return self.maps.attention

    @property
    def response_gates(self) -> list[np.ndarray]:
        """Of each refinement g_r (h, w); empty where maps were not asked for, or without that gate."""
        return self.maps.response_gates


@dataclass(frozen=True, eq=False)
class Result:
    """All drawings of a call: caption by caption, and noise by noise."""

    drawings: list[Drawing]

    @property
    def images(self) -> list[Image.Image]:
        return [drawing.image for drawing in self.drawings]

    @property
    def stages(self) -> list[list[Image.Image]]:
        return [drawing.stages for drawing in self.drawings]

    @property
    def attention(self) -> list[list[np.ndarray]]:
        return [drawing.attention for drawing in self.drawings]

    @property
    def words(self) -> list[list[str]]:
        return [drawing.words for drawing in self.drawings]

    @property
    def unknown_words(self) -> list[str]:
        """What was not read of any caption, each once."""
        return list(dict.fromkeys(word for drawing in self.drawings for word in drawing.unknown_words))
