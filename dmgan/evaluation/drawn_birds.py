"""Reading pictures of `birds-2` again: colours of the parts, size and pose of the bird that is seen.

The bird's outlines in every pose, size and direction are known exactly (`datasets.sources.drawn.bird_shapes`). Of all
places and outlines the one is taken whose parts are nearest to colours of the palette while what is outside is nearest
to the background, of which the picture's left and right edges tell; each part is then read as the nearest colour.
Nothing is trained, so no generator can learn to please it.

It sees the colours of body, wing, breast, crown and beak, the size and the pose. It cannot see eyerings, wing bars,
the marks of a breast and the length of the beak, which are a pixel or less at 64 pixels, nor whether the picture is a
good one: it finds the most bird-like place of any picture. Its accuracy on the real pictures is in docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.sources.birds import COLOURS
from datasets.sources.drawn.bird_shapes import SCALES, Form, Region, paint, pose_of
from datasets.sources.drawn.canvas import Canvas, Frame
from datasets.sources.drawn.species import BEAK_COLOURS, POSES
from datasets.sources.options import STORED_PER_RESOLUTION

__all__ = ["ATTRIBUTES", "read_birds"]

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "body": tuple(COLOURS),
    "wing": tuple(COLOURS),
    "breast": tuple(COLOURS),
    "crown": tuple(COLOURS),
    "beak": BEAK_COLOURS,
    "size": tuple(SCALES),
    "pose": POSES,
}
_PARTS = {
    "body": (Region.BODY,),
    "wing": (Region.WING, Region.FEATHERS),
    "breast": (Region.BREAST,),
    "crown": (Region.CROWN,),
    "beak": (Region.BEAK,),
}
_SIDE = 64  # pixels at which pictures are read
_FAR = 64.0  # distance in RGB from which on a pixel is not of a colour at all
# Shares of background and body in a beak's colour: all of its pixels are at its edge.
_MIXED = ((0.0, 0.0), (0.15, 0.0), (0.3, 0.0), (0.0, 0.15), (0.0, 0.3), (0.15, 0.15))
_NEUTRAL = 0.15  # cost of a pixel of the bird that is of no part: outlines, legs, the far wing
_EDGE = 6  # columns at the left and at the right that tell a row's background
_REACH = 8  # pixels by which a bird may be off the middle: the random crop, and its own place
_TILTS = (-0.06, 0.0, 0.06)
_INNER = 8  # power of a pixel's share of a part that is its weight when the part's colour is read
_KEPT = 4  # outlines of the coarse search that are looked at finely
_NEAR = 2  # pixels about them


@dataclass(frozen=True)
class _Outlines:
    """Templates: of each its size and pose, and which share of every pixel is of each part."""

    sizes: list[str]
    poses: list[str]
    coarse: Tensor  # (T, parts and the whole bird, 32, 32), of the middle tilt
    fine: Tensor  # (T, tilts, parts and the whole bird, 64, 64)


def read_birds(images: Tensor) -> list[dict[str, str]]:
    """Of uint8 images (N, 3, H, W) what is seen: attribute → value, for every one of `ATTRIBUTES`."""
    outlines = _outlines(str(images.device))
    pixels = images.float()
    if pixels.shape[-1] != _SIDE:
        pixels = F.interpolate(pixels, (_SIDE, _SIDE), mode="area")
    fine = _distances(pixels)
    coarse = _distances(F.avg_pool2d(pixels, 2))
    shown = torch.cat([pixels, _background(pixels)], dim=1)
    return [_read(fine[i], shown[i], best, outlines) for i, best in enumerate(_search(coarse, outlines))]


def _background(pixels: Tensor) -> Tensor:
    """What every row of pixels (N, 3, h, w) has at its edges, of the same shape."""
    edge = _EDGE * pixels.shape[-1] // _SIDE
    row = torch.cat([pixels[..., :edge], pixels[..., -edge:]], dim=-1).median(dim=-1, keepdim=True).values
    return row.expand_as(pixels)


def _distances(pixels: Tensor) -> Tensor:
    """Squared distance of every pixel to every colour of the palette and to its row's background: (N, C + 1, h, w).

    It is cut off at `_FAR`, and in units of its square.
    """
    palette = torch.tensor(list(COLOURS.values()), dtype=torch.float32, device=pixels.device)
    to_colours = ((pixels[:, None] - palette[None, :, :, None, None]) ** 2).sum(2)
    to_background = ((pixels - _background(pixels)) ** 2).sum(1, keepdim=True)
    return torch.cat([to_colours, to_background], dim=1).clamp_max(_FAR**2) / _FAR**2


def _cost(sums: Tensor, areas: Tensor) -> Tensor:
    """What outlines cost: sums (…, C + 1, parts + 1) of the distances in their parts and in the whole bird, less what
    its pixels would cost as background; areas (…, parts + 1) in pixels."""
    of_parts = sums[..., :-1, :-1].amin(dim=-2).sum(-1)
    neutral = areas[..., -1] - areas[..., :-1].sum(-1)
    return of_parts + _NEUTRAL * neutral - sums[..., -1, -1]


def _padded(distances: Tensor, margin: int) -> Tensor:
    """What is beyond the picture's edge is as good as background as it is as bird."""
    return F.pad(distances, [margin] * 4, value=0.0)


def _search(distances: Tensor, outlines: _Outlines) -> list[list[tuple[int, int, int]]]:
    """Of every image the best outlines (template, dy, dx in fine pixels), searched over all places."""
    n, colours = distances.shape[:2]
    templates, parts = outlines.coarse.shape[:2]
    reach = _REACH // 2
    around = _padded(distances, reach).flatten(0, 1)[:, None]
    sums = F.conv2d(around, outlines.coarse.flatten(0, 1)[:, None])
    places = 2 * reach + 1
    sums = sums.view(n, colours, templates, parts, places * places).permute(0, 2, 4, 1, 3)
    cost = _cost(sums, outlines.coarse.sum(dim=(2, 3))[None, :, None])
    best_place = cost.argmin(dim=2)
    best = cost.gather(2, best_place[:, :, None])[:, :, 0].topk(_KEPT, largest=False).indices
    return [
        [
            (t, 2 * (int(best_place[i, t]) // places - reach), 2 * (int(best_place[i, t]) % places - reach))
            for t in best[i].tolist()
        ]
        for i in range(n)
    ]


def _read(
    distances: Tensor, shown: Tensor, candidates: list[tuple[int, int, int]], outlines: _Outlines
) -> dict[str, str]:
    """Look closely about the candidates, and read the parts of the best.

    distances (C + 1, 64, 64); shown (6, 64, 64), the pixels and their rows' background.
    """
    margin = _REACH + _NEAR + 2
    around, shown = _padded(distances, margin), _padded(shown, margin)
    lowest, found = float("inf"), (0, distances.new_zeros(0), distances.new_zeros(0))
    steps = [(dy, dx) for dy in range(-_NEAR, _NEAR + 1) for dx in range(-_NEAR, _NEAR + 1)]
    for template, y, x in candidates:
        shifted = torch.stack(
            [
                around[:, margin + y + dy : margin + y + dy + _SIDE, margin + x + dx : margin + x + dx + _SIDE]
                for dy, dx in steps
            ]
        ).flatten(2)
        masks = outlines.fine[template].flatten(2)  # (tilts, parts, pixels)
        sums = torch.einsum("scp,tkp->stck", shifted, masks)
        cost = _cost(sums, masks.sum(dim=2)[None])
        least = int(cost.argmin())
        if float(cost.flatten()[least]) < lowest:
            lowest = float(cost.flatten()[least])
            top, left = (margin + at + d for at, d in zip((y, x), steps[least // len(_TILTS)], strict=True))
            window = (slice(None), slice(top, top + _SIDE), slice(left, left + _SIDE))
            seen = torch.cat([around[window], shown[window]]).flatten(1)
            found = (template, seen, masks[least % len(_TILTS), :-1])
    template, seen, mask = found
    colours = dict(zip(_PARTS, _colours(seen, mask), strict=True))
    return {**colours, "size": outlines.sizes[template], "pose": outlines.poses[template]}


def _colours(seen: Tensor, mask: Tensor) -> list[str]:
    """Of every part, in their order: seen (C + 7, pixels), distances above what is shown; mask (parts, pixels).

    A part's inner pixels tell its colour: those at its edge are mixed with what is beside it.
    """
    weights, names = mask**_INNER, list(COLOURS)
    sums = torch.einsum("cp,kp->kc", seen, weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-6))
    found = [names[int(part[: len(names)].argmin())] for part in sums[:-1]]
    pixel, beside = sums[-1, -6:-3], torch.stack([sums[-1, -3:], sums[0, -6:-3]])  # background and body
    palette = torch.tensor([COLOURS[colour] for colour in BEAK_COLOURS], dtype=torch.float32, device=seen.device)
    shares = torch.tensor(_MIXED, device=seen.device)
    mixed = (1 - shares.sum(dim=1))[:, None, None] * palette + (shares @ beside)[:, None]
    return [*found, BEAK_COLOURS[int(((mixed - pixel) ** 2).sum(-1).amin(0).argmin())]]


@lru_cache(maxsize=4)
def _outlines(device: str) -> _Outlines:
    kinds = list(product(POSES, SCALES, (-1, 1)))
    fine = torch.stack(
        [torch.stack([_outline(pose, size, facing, tilt) for tilt in _TILTS]) for pose, size, facing in kinds]
    ).to(device)
    coarse = F.avg_pool2d(fine[:, len(_TILTS) // 2].flatten(0, 1)[:, None], 2)
    return _Outlines(
        sizes=[size for _, size, _ in kinds],
        poses=[pose for pose, _, _ in kinds],
        coarse=coarse.view(len(kinds), len(_PARTS) + 1, _SIDE // 2, _SIDE // 2),
        fine=fine,
    )


def _outline(pose: str, size: str, facing: int, tilt: float) -> Tensor:
    """The share of every pixel that is of each part and of the whole bird, in the middle: (parts + 1, 64, 64)."""
    factor = 8
    canvas = Canvas(_SIDE * factor)
    scale = SCALES[size] * STORED_PER_RESOLUTION * canvas.side
    middle = (canvas.side / 2, canvas.side * (0.5 + STORED_PER_RESOLUTION * pose_of(pose).lower))
    paint(canvas, Frame(middle, scale, pose_of(pose).tilt + tilt, facing), pose, Form("short"))
    labels = torch.from_numpy(np.array(canvas.array()))
    shown = [torch.isin(labels, torch.tensor(regions)) for regions in _PARTS.values()]
    shown.append((labels > 0) & (labels < Region.PERCH))
    return torch.stack([F.avg_pool2d(part[None, None].float(), factor)[0, 0] for part in shown])
