"""A bird of `birds-2` as regions: which part of it is seen at every pixel, in every pose.

The same code draws the pictures and the templates by which `dmgan.evaluation` reads generated ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import cos, pi, sin

import numpy as np
from PIL import ImageDraw

from datasets.sources.drawn.canvas import Canvas, Frame, Points, ellipse, smooth

__all__ = ["SCALES", "Form", "Region", "paint", "pose_of"]

SCALES = {"small": 0.225, "large": 0.29}  # of half a bird's length, as a share of the stored picture's side


class Region(IntEnum):
    BODY = 1
    WING = 2
    BREAST = 3
    CROWN = 4
    BEAK = 5
    MARKS = 6
    BARS = 7
    EYERING = 8
    EYE = 9
    LEGS = 10
    FAR_WING = 11
    FEATHERS = 12
    OUTLINE = 13
    PERCH = 20
    PERCH_SHADE = 21
    GROUND = 22
    GROUND_SHADE = 23
    WATER = 24
    RIPPLES = 25


@dataclass(frozen=True)
class Form:
    """What of a species and of a picture decides its shapes."""

    beak_length: str
    marking: str = "plain"
    has_bars: bool = False
    has_eyering: bool = False
    neck: float = 0.0  # how far the head is stretched
    seed: int = 0  # of marks, leaves and ripples


@dataclass(frozen=True)
class Pose:
    tilt: float  # radians, head up
    head: tuple[float, float]
    lower: float = 0.0  # the bird's middle below the picture's, as a share of its side


_POSES = {
    "perched": Pose(0.55, (0.64, -0.36), -0.01),
    "standing": Pose(0.12, (0.66, -0.46)),
    "pecking": Pose(-0.30, (0.86, -0.10)),
    "flying": Pose(0.10, (0.78, -0.28), 0.06),
    "swimming": Pose(0.02, (0.60, -0.60), 0.05),
}
_BODY: Points = [
    (0.66, -0.10),
    (0.54, 0.22),
    (0.16, 0.40),
    (-0.32, 0.32),
    (-0.72, 0.06),
    (-0.62, -0.12),
    (-0.2, -0.28),
    (0.32, -0.36),
]
_FOLDED: Points = [(0.14, -0.20), (0.10, 0.06), (-0.30, 0.16), (-0.92, 0.10), (-0.62, -0.12), (-0.2, -0.25)]
_RAISED: Points = [(0.22, -0.14), (0.16, -0.62), (-0.16, -1.08), (-0.62, -1.02), (-0.62, -0.60), (-0.46, -0.10)]
_FAR: Points = [(0.30, -0.20), (0.52, -0.60), (0.50, -1.00), (0.16, -0.92), (-0.10, -0.30)]
_TAIL: Points = [(-0.55, -0.12), (-1.12, -0.02), (-1.24, 0.06), (-1.16, 0.18), (-0.55, 0.16)]
_HEAD = 0.265


def pose_of(name: str) -> Pose:
    return _POSES[name]


def paint(canvas: Canvas, frame: Frame, pose: str, form: Form, surroundings: bool = True) -> None:
    """The bird and, with `surroundings`, what it sits on. `frame.tilt` has the pose's tilt in it already."""
    rng = np.random.default_rng([form.seed, 31])
    if surroundings:
        _below(canvas, frame, pose, rng)
    thin = 0.022 * frame.scale
    if pose == "flying":
        _part(canvas, frame, smooth(_FAR), Region.FAR_WING, thin)
    _part(canvas, frame, smooth(_TAIL), Region.WING, thin)
    for i in range(1, 3):
        canvas.line(frame.pixels([(-0.6, -0.05 + 0.06 * i), (-1.16, 0.02 + 0.05 * i)]), Region.FEATHERS, thin)
    if pose in ("perched", "standing", "pecking"):
        _legs(canvas, frame, pose)
    head = _POSES[pose].head
    head = (head[0] + 0.5 * form.neck, head[1] - form.neck if pose != "pecking" else head[1])
    _trunk(canvas, frame, head, thin)
    _breast(canvas, frame, form, rng)
    _wing(canvas, frame, pose, form, thin)
    _face(canvas, frame, head, form, thin)
    if surroundings and pose == "swimming":
        _water(canvas, frame, rng)


def _part(canvas: Canvas, frame: Frame, points: Points, region: Region, outline: float) -> None:
    pixels = frame.pixels(points)
    canvas.fill(pixels, region)
    canvas.line([*pixels, pixels[0]], Region.OUTLINE, outline)


def _trunk(canvas: Canvas, frame: Frame, head: tuple[float, float], thin: float) -> None:
    """Body, neck and head of one colour, with one outline about all three."""
    neck = _neck(head)
    shapes = [smooth(_BODY), neck, ellipse(*head, _HEAD, _HEAD)]
    for shape in shapes:
        pixels = frame.pixels(shape)
        canvas.line([*pixels, pixels[0]], Region.OUTLINE, 2 * thin)
    for shape in shapes:
        canvas.fill(frame.pixels(shape), Region.BODY)


def _neck(head: tuple[float, float]) -> Points:
    """From the front of the body to the head, as wide as both need."""
    foot = (0.36, -0.10)
    along = np.array([head[0] - foot[0], head[1] - foot[1]])
    across = np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1e-6)
    wide, narrow = 0.27, 0.24
    corners = [
        (foot[0] + wide * across[0], foot[1] + wide * across[1]),
        (head[0] + narrow * across[0], head[1] + narrow * across[1]),
        (head[0] - narrow * across[0], head[1] - narrow * across[1]),
        (foot[0] - wide * across[0], foot[1] - wide * across[1]),
    ]
    return [(float(x), float(y)) for x, y in corners]


def _breast(canvas: Canvas, frame: Frame, form: Form, rng: np.random.Generator) -> None:
    patch = frame.pixels(ellipse(0.44, 0.08, 0.29, 0.36, 0.35))
    canvas.inside(lambda pen: pen.polygon(patch, fill=255), Region.BREAST, (Region.BODY,))
    jitter = rng.uniform(-0.02, 0.02, (8, 5, 2))

    def marks(pen: ImageDraw.ImageDraw) -> None:
        for i in range(8):
            for j in range(5):
                x, y = 0.16 + 0.105 * j + jitter[i, j, 0], -0.26 + 0.1 * i + 0.05 * (j % 2) + jitter[i, j, 1]
                if form.marking == "streaked":
                    mark = [(x, y), (x + 0.026, y + 0.01), (x - 0.010, y + 0.075)]
                else:
                    mark = ellipse(x, y, 0.021, 0.021, count=10)
                pen.polygon(frame.pixels(mark), fill=255)

    def bands(pen: ImageDraw.ImageDraw) -> None:
        for i in range(4):
            y = -0.16 + 0.15 * i
            band = [(0.05, y - 0.012), (0.9, y - 0.062), (0.9, y - 0.036), (0.05, y + 0.014)]
            pen.polygon(frame.pixels(band), fill=255)

    if form.marking in ("streaked", "spotted"):
        canvas.inside(marks, Region.MARKS, (Region.BREAST,))
    elif form.marking == "banded":
        canvas.inside(bands, Region.MARKS, (Region.BREAST,))


def _wing(canvas: Canvas, frame: Frame, pose: str, form: Form, thin: float) -> None:
    raised = pose == "flying"
    _part(canvas, frame, smooth(_RAISED if raised else _FOLDED), Region.WING, thin)
    if raised:
        feathers = [[(-0.36 + 0.1 * i, -0.22), (-0.46 + 0.16 * i, -0.96)] for i in range(4)]
        bars = [[(-0.42, -0.36), (0.16, -0.44)], [(-0.48, -0.52), (0.14, -0.60)]]
    else:
        feathers = [[(-0.15, 0.05 - 0.07 * i), (-0.80, 0.07 - 0.05 * i)] for i in range(4)]
        bars = [[(0.06, -0.19), (-0.06, 0.10)], [(-0.08, -0.21), (-0.20, 0.12)]]
    for line in feathers:
        canvas.line(frame.pixels(line), Region.FEATHERS, thin)
    if form.has_bars:
        width = max(1, round(0.052 * frame.scale))
        for bar in bars:
            ends = frame.pixels(bar)

            def stroke(pen: ImageDraw.ImageDraw, ends: Points = ends) -> None:
                pen.line(ends, fill=255, width=width)

            canvas.inside(stroke, Region.BARS, (Region.WING, Region.FEATHERS))


def _face(canvas: Canvas, frame: Frame, head: tuple[float, float], form: Form, thin: float) -> None:
    x, y = head
    reach = {"short": 0.26, "long": 0.40}[form.beak_length]
    tip = (x + 0.26 + reach, y + 0.06)
    beak = [(x + 0.19, y - 0.13), (x + 0.20 + 0.6 * reach, y - 0.06), tip, (x + 0.19, y + 0.17)]
    canvas.fill(frame.pixels(beak), Region.BEAK)
    canvas.line(frame.pixels([(x + 0.24, y + 0.03), (x + 0.18 + reach, y + 0.05)]), Region.OUTLINE, thin / 2)
    cap = [(x + _HEAD * cos(t), y - 0.02 - _HEAD * sin(t)) for t in np.linspace(0.05 * pi, 1.12 * pi, 18)]
    canvas.fill(frame.pixels([(float(p), float(q)) for p, q in cap]), Region.CROWN)
    if form.has_eyering:
        canvas.fill(frame.pixels(ellipse(x + 0.09, y + 0.03, 0.085, 0.085, count=20)), Region.EYERING)
    canvas.fill(frame.pixels(ellipse(x + 0.09, y + 0.03, 0.048, 0.048, count=16)), Region.EYE)


def _legs(canvas: Canvas, frame: Frame, pose: str) -> None:
    """Straight down whatever the body's tilt is, to the branch or the ground."""
    for x in (-0.04, 0.14):
        (hip,) = frame.pixels([(x, 0.30)])
        foot = (hip[0], _ground_level(frame, pose))
        canvas.line([hip, foot], Region.LEGS, 0.05 * frame.scale)
        for toe in (-0.09, 0.09):
            canvas.line([foot, (foot[0] + toe * frame.scale, foot[1])], Region.LEGS, 0.045 * frame.scale)


def _ground_level(frame: Frame, pose: str) -> float:
    return frame.centre[1] + frame.scale * (0.56 if pose == "perched" else 0.72)


def _below(canvas: Canvas, frame: Frame, pose: str, rng: np.random.Generator) -> None:
    side, scale, level = canvas.side, frame.scale, _ground_level(frame, pose)
    if pose == "perched":
        slope, thick = rng.uniform(-0.10, 0.10), 0.075 * scale
        ends = [(-2.0, level - slope * side), (side + 2.0, level + slope * side)]
        drop = thick * 1.2 - slope * (2 * frame.centre[0] - side) / 1.0
        line = [(x, y + drop) for x, y in ends]
        canvas.line(line, Region.PERCH, 2.6 * thick)
        canvas.line([(x, y + 0.8 * thick) for x, y in line], Region.PERCH_SHADE, 0.7 * thick)
        for _ in range(int(rng.integers(1, 4))):
            x = rng.uniform(0.05, 0.95) * side
            y = line[0][1] + (line[1][1] - line[0][1]) * x / side
            tip = (x + rng.uniform(-0.3, 0.3) * scale, y + rng.choice([-1, 1]) * rng.uniform(0.25, 0.5) * scale)
            canvas.line([(x, y), tip], Region.PERCH, 0.9 * thick)
    elif pose in ("standing", "pecking"):
        canvas.fill([(0, level), (side, level), (side, side), (0, side)], Region.GROUND)
        for _ in range(14):
            x, y = rng.uniform(0, side), level + rng.uniform(0.02, 0.9) ** 1.5 * (side - level)
            canvas.fill(ellipse(x, y, rng.uniform(0.02, 0.08) * scale, 0.02 * scale, count=10), Region.GROUND_SHADE)
        canvas.fill(ellipse(frame.centre[0], level + 0.04 * scale, 0.55 * scale, 0.05 * scale), Region.GROUND_SHADE)


def _water(canvas: Canvas, frame: Frame, rng: np.random.Generator) -> None:
    side, scale = canvas.side, frame.scale
    level = frame.centre[1] + 0.32 * scale
    canvas.fill([(0, level), (side, level), (side, side), (0, side)], Region.WATER)
    for _ in range(16):
        x, y = rng.uniform(0, side), level + rng.uniform(0.01, 0.9) * (side - level)
        canvas.fill(ellipse(x, y, rng.uniform(0.15, 0.5) * scale, 0.014 * scale, count=14), Region.RIPPLES)
    canvas.fill(ellipse(frame.centre[0], level, 0.7 * scale, 0.02 * scale, count=24), Region.RIPPLES)
