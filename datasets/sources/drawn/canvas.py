"""Drawing at any resolution: regions by number, drawn larger and averaged down, over a background."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import cos, pi, sin
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageChops, ImageDraw

__all__ = ["RGB", "Canvas", "DrawnImage", "Frame", "Points", "composed", "ellipse", "smooth"]

RGB = tuple[int, int, int]
Points = list[tuple[float, float]]


def smooth(points: Sequence[tuple[float, float]], steps: int = 8) -> Points:
    """The closed Catmull-Rom curve through the points."""
    p = np.asarray(points, np.float64)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (x[:, None] for x in (before, p, after, beyond))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return [(float(x), float(y)) for x, y in curve.reshape(-1, 2)]


def ellipse(x: float, y: float, a: float, b: float, angle: float = 0.0, count: int = 32) -> Points:
    """An ellipse about (x, y) with semi-axes a and b, turned by `angle` (radians, anticlockwise as it is seen)."""
    ca, sa = cos(angle), sin(angle)
    ring = [(a * cos(2 * pi * i / count), b * sin(2 * pi * i / count)) for i in range(count)]
    return [(x + p * ca + q * sa, y - p * sa + q * ca) for p, q in ring]


@dataclass(frozen=True)
class Frame:
    """From a thing's coordinates to pixels: x forward, y down, turned by `tilt`, looking right (1) or left (−1)."""

    centre: tuple[float, float]
    scale: float
    tilt: float = 0.0
    facing: int = 1

    def pixels(self, points: Sequence[tuple[float, float]]) -> Points:
        c, s = cos(self.tilt), sin(self.tilt)
        return [
            (
                self.centre[0] + self.facing * self.scale * (x * c + y * s),
                self.centre[1] + self.scale * (-x * s + y * c),
            )
            for x, y in points
        ]


@dataclass
class Canvas:
    """Regions numbered 1…255 over an empty 0: which of them is seen at every pixel."""

    side: int
    labels: Image.Image = field(init=False)

    def __post_init__(self) -> None:
        self.labels = Image.new("L", (self.side, self.side))
        self._pen = ImageDraw.Draw(self.labels)

    def fill(self, points: Points, label: int) -> None:
        """A polygon of pixels' coordinates."""
        self._pen.polygon(points, fill=label)

    def line(self, points: Points, label: int, width: float) -> None:
        self._pen.line(points, fill=label, width=max(1, round(width)), joint="curve")

    def inside(self, draw: Callable[[ImageDraw.ImageDraw], None], label: int, within: Sequence[int]) -> None:
        """What `draw` draws (with 255), where one of the regions `within` is seen."""
        mask = Image.new("L", self.labels.size)
        draw(ImageDraw.Draw(mask))
        box = mask.getbbox()
        if box is None:
            return
        seen = self.labels.crop(box).point([255 * (value in within) for value in range(256)])
        self.labels.paste(label, box, ImageChops.multiply(mask.crop(box), seen))

    def array(self) -> np.ndarray:
        """uint8 (side, side)."""
        return np.asarray(self.labels)


def composed(canvas: Canvas, colours: dict[int, RGB], background: np.ndarray) -> np.ndarray:
    """The regions in their colours, averaged down to the size of the background, over it: float32 (S, S, 3).

    The canvas's side is a whole multiple of S.
    """
    factor = canvas.side // background.shape[0]
    palette = np.zeros((256, 3), np.uint8)
    for label, colour in colours.items():
        palette[label] = colour
    drawn = canvas.labels.copy()
    drawn.putpalette(palette.tobytes())
    layer = np.asarray(drawn.convert("RGB").reduce(factor), np.float32)
    there = canvas.labels.point([0] + [255] * 255).reduce(factor)
    share = np.asarray(there, np.float32)[..., None] / 255
    # Empty pixels are black in the layer, so it is weighted by `share` already.
    return layer + (1 - share) * background


@dataclass(frozen=True)
class DrawnImage:
    """A picture that is drawn when it is opened, as PNG. It travels to the processes that pack."""

    name: str
    draw: Callable[[], Image.Image]
    size: int = -1

    def open(self) -> BinaryIO:
        buffer = io.BytesIO()
        self.draw().save(buffer, "PNG", compress_level=1)
        buffer.seek(0)
        return buffer
