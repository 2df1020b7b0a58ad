"""Reading pictures of `scenes` again: which things are seen, and how they lie to one another.

Every pixel is of the nearest colour of the palette or, where its row's edges are nearer, of the room; the largest
connected region of a colour is a thing, whose shape is the one that its outline overlaps most. Nothing is trained, so
no generator can learn to please it.

It sees one thing of a colour, as scenes have, of at least 0.8 % of the picture. It cannot see a second thing of the
same colour, nor how well a thing is drawn: a ragged ball is a ball. Its accuracy on the real pictures is in
docs/evaluation.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.sources.drawn.canvas import Canvas, Frame
from datasets.sources.drawn.scene_shapes import PALETTE, SHAPES, paint_shape

__all__ = ["Seen", "holds", "read_scenes"]

_SIDE = 64  # pixels at which pictures are read
_NEAR = 110.0  # distance in RGB within which a pixel can be of a colour
_EDGE = 2  # columns at the left and at the right that tell a row's background
_LEAST = 0.008  # share of the picture that a thing takes at least
_WINDOW = 24  # pixels a side to which a thing is scaled for its shape
_TURNS = (-0.08, 0.0, 0.08)
_RADII = (8.0, 9.0, 10.0)  # of things, in those pixels
_COVERED = (0.4, 0.6)  # share of a pixel that must be of a thing for its colour to be the nearest


@dataclass(frozen=True)
class Seen:
    """A thing: its shape, and where its middle is as shares of the picture's side, y pointing down."""

    shape: str
    x: float
    y: float


def holds(seen: dict[str, Seen], one: str, direction: str, other: str) -> bool:
    """Whether the thing of colour `one` lies in that direction of the one of colour `other`, more than across it."""
    if one not in seen or other not in seen:
        return False
    dx, dy = seen[one].x - seen[other].x, seen[one].y - seen[other].y
    along, across = {"left": (-dx, dy), "right": (dx, dy), "above": (-dy, dx), "below": (dy, dx)}[direction]
    return along > abs(across)


def read_scenes(images: Tensor) -> list[dict[str, Seen]]:
    """Of uint8 images (N, 3, H, W) the things that are seen, by their colours."""
    pixels = images.float()
    if pixels.shape[-1] != _SIDE:
        pixels = F.interpolate(pixels, (_SIDE, _SIDE), mode="area")
    regions = _largest(_of_colours(pixels)).cpu()
    names = list(PALETTE)
    return [
        {names[c]: _seen(mask) for c, mask in enumerate(image) if mask.sum() >= _LEAST * _SIDE**2} for image in regions
    ]


def _of_colours(pixels: Tensor) -> Tensor:
    """Which pixels are of which colour: bool (N, C, h, w)."""
    palette = torch.tensor(list(PALETTE.values()), dtype=torch.float32, device=pixels.device)
    distance = ((pixels[:, None] - palette[None, :, :, None, None]) ** 2).sum(2)
    nearest = distance.argmin(dim=1, keepdim=True)
    colours = torch.arange(len(palette), device=pixels.device)[None, :, None, None]
    row = torch.cat([pixels[..., :_EDGE], pixels[..., -_EDGE:]], dim=-1).median(dim=-1, keepdim=True).values
    to_room = ((pixels - row) ** 2).sum(1, keepdim=True)
    return (nearest == colours) & (distance <= _NEAR**2) & (distance < to_room)


def _largest(masks: Tensor) -> Tensor:
    """The largest connected region of every mask, bool (N, C, h, w): each pixel takes the highest number about it."""
    height, width = masks.shape[2:]
    some = masks.sum(dim=(2, 3)) >= _LEAST * height * width
    flat = masks[some][:, None].float()
    numbers = torch.arange(1, height * width + 1, device=masks.device, dtype=torch.float32).view(1, 1, height, width)
    regions = numbers * flat
    while True:
        wider = F.max_pool2d(regions, 3, stride=1, padding=1) * flat
        if torch.equal(wider, regions):
            break
        regions = wider
    counts = torch.zeros(len(flat), height * width + 1, device=masks.device)
    counts.scatter_add_(1, regions.flatten(1).long(), torch.ones_like(regions).flatten(1))
    counts[:, 0] = 0  # what is of no region
    largest = counts.argmax(dim=1)[:, None, None, None]
    found = torch.zeros_like(masks)
    found[some] = ((regions == largest) & (flat > 0))[:, 0]
    return found


def _seen(mask: Tensor) -> Seen:
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    window = _window(mask[top:bottom, left:right].float())
    names, templates = _templates()
    both, either = torch.minimum(templates, window).sum(dim=(1, 2)), torch.maximum(templates, window).sum(dim=(1, 2))
    shape = names[int((both / either).argmax())]
    return Seen(shape, (left + right) / 2 / _SIDE, (top + bottom) / 2 / _SIDE)


def _window(part: Tensor) -> Tensor:
    return F.interpolate(part[None, None], (_WINDOW, _WINDOW), mode="bilinear", antialias=True)[0, 0]


@lru_cache(maxsize=1)
def _templates() -> tuple[list[str], Tensor]:
    """Every shape as it is at these pixels, a little turned, cut to its outline: names, and (shapes, 24, 24)."""
    names, found, factor = [], [], 8
    for shape, turn, radius, covered in product(SHAPES, _TURNS, _RADII, _COVERED):
        canvas, middle = Canvas(32 * factor), 16 * factor
        paint_shape(canvas, Frame((middle, middle), radius * factor, turn), shape, 1)
        share = F.avg_pool2d(torch.from_numpy(np.array(canvas.array()))[None, None].float(), factor)[0, 0]
        there = share > covered
        rows, columns = there.any(dim=1).nonzero()[:, 0], there.any(dim=0).nonzero()[:, 0]
        names.append(shape)
        found.append(_window(there[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].float()))
    return names, torch.stack(found)
