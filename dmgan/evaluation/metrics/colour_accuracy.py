"""On the drawn birds: is the body's colour the one the caption names?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from datasets.sources.birds import BODY_REGION, COLOURS, NAME, body_colour
from dmgan.evaluation.metrics.metric import Metric, Part, Score, Settings, Sums, Value, metrics

__all__ = ["ColourAccuracy", "colour_hits"]


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


class ColourAccuracy(Metric):
    """The share of images, of those whose caption names the body's colour, that have it; on the drawn birds alone."""

    scores = (
        Score(
            "colour_accuracy",
            "body colour as captioned",
            "share of images",
            "higher",
            percent=True,
            digits=1,
            chance=1 / len(COLOURS),
        ),
    )

    def wanted(self, settings: Settings) -> bool:
        return settings.dataset == NAME  # elsewhere a caption's colour need not be where theirs is

    def generated(self, part: Part, settings: Settings) -> Sums:
        hits = colour_hits(part.images, part.captions)
        return {"named": np.array(len(hits)), "hits": np.array(sum(hits))}

    def result(self, generated: Sums, real: Sums, settings: Settings) -> dict[str, Value]:
        return {"colour_accuracy": float(generated["hits"] / generated["named"])} if generated["named"] else {}


metrics.register("colour_accuracy", ColourAccuracy())
