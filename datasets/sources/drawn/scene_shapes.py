"""The shapes of `scenes`, about (0, 0) and within a circle of radius 1; y points down."""

from __future__ import annotations

from math import cos, pi, sin

from datasets.sources.drawn.canvas import Canvas, Frame, Points, ellipse

__all__ = ["PALETTE", "SHAPES", "paint_shape"]

SHAPES = ("ball", "box", "triangle", "star", "ring", "cross")
PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (204, 41, 41),
    "orange": (242, 138, 28),
    "yellow": (246, 219, 56),
    "green": (48, 148, 60),
    "blue": (46, 92, 204),
    "purple": (128, 56, 158),
    "black": (30, 30, 34),
    "white": (246, 246, 244),
}
_S = 0.86  # half a side of the box
_CROSS = 0.34
_OUTLINES: dict[str, Points] = {
    "ball": ellipse(0, 0, 1, 1, count=64),
    "box": [(-_S, -_S), (_S, -_S), (_S, _S), (-_S, _S)],
    "triangle": [(0, -1), (1, 0.82), (-1, 0.82)],
    "star": [(r * sin(pi * i / 5), -r * cos(pi * i / 5)) for i, r in ((i, (1.06, 0.35)[i % 2]) for i in range(10))],
    "ring": ellipse(0, 0, 1, 1, count=64),
    "cross": [
        (-_CROSS, -1),
        (_CROSS, -1),
        (_CROSS, -_CROSS),
        (1, -_CROSS),
        (1, _CROSS),
        (_CROSS, _CROSS),
        (_CROSS, 1),
        (-_CROSS, 1),
        (-_CROSS, _CROSS),
        (-1, _CROSS),
        (-1, -_CROSS),
        (-_CROSS, -_CROSS),
    ],
}
_HOLE = ellipse(0, 0, 0.46, 0.46, count=48)
_LIGHTS: dict[str, Points] = {
    "ball": ellipse(-0.34, -0.40, 0.26, 0.18, 0.6, count=24),
    "box": [(-_S, -_S), (_S, -_S), (0.9 * _S, -0.8 * _S), (-0.9 * _S, -0.8 * _S)],
    "triangle": [(0, -1), (-1, 0.82), (-0.86, 0.74), (0, -0.78)],
    "star": [(0, -1.06), (0, 0), (-0.21, -0.29)],
    "cross": [(-_CROSS, -1), (_CROSS, -1), (0.8 * _CROSS, -0.9), (-0.8 * _CROSS, -0.9)],
    "ring": ellipse(-0.45, -0.52, 0.22, 0.09, 0.85, count=20),
}
_SHADES: dict[str, Points] = {
    "ball": [(cos(t), sin(t)) for t in (pi * i / 24 for i in range(1, 24))]
    + [(0.92 * cos(t), 0.78 * sin(t)) for t in (pi * i / 24 for i in range(23, 0, -1))],
    "box": [(_S, -_S), (_S, _S), (0.84 * _S, 0.9 * _S), (0.84 * _S, -0.82 * _S)],
    "triangle": [(1, 0.82), (-1, 0.82), (-0.84, 0.70), (0.84, 0.70)],
}


def paint_shape(canvas: Canvas, frame: Frame, shape: str, label: int, light: int = 0, shade: int = 0) -> None:
    """The shape in the frame as region `label`, with an edge that catches light and one in shade where given."""
    canvas.fill(frame.pixels(_OUTLINES[shape]), label)
    for regions, of_edge in ((_LIGHTS, light), (_SHADES, shade)):
        if of_edge and shape in regions:
            canvas.fill(frame.pixels(regions[shape]), of_edge)
    if shape == "ring":
        canvas.fill(frame.pixels(_HOLE), 0)
