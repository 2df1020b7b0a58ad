"""On the drawn birds: is the body's colour the one the caption names?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datasets.sources.birds import BODY_REGION, COLOURS, body_colour

__all__ = ["colour_hits"]


def colour_hits(images: Tensor, captions: Sequence[str]) -> list[bool]:
    """For every caption that names a body colour, whether the palette colour nearest the body region's mean is it.

    images uint8 (B, 3, H, W); nearest by Euclidean distance in RGB; chance is 1 in the number of colours.
    """
    size = images.shape[-1]
    left, top, right, bottom = (round(f * size) for f in BODY_REGION)
    mean = images[:, :, top:bottom, left:right].float().mean(dim=(2, 3))
    palette = torch.tensor(list(COLOURS.values()), dtype=mean.dtype, device=mean.device)
    nearest = torch.cdist(mean, palette).argmin(dim=1).tolist()
    names = list(COLOURS)
    named = [body_colour(caption) for caption in captions]
    return [names[i] == colour for i, colour in zip(nearest, named, strict=True) if colour is not None]
