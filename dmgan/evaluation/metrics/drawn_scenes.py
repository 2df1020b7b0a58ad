"""On `scenes`: are the things that a caption names there, and do they lie as it says?"""

from __future__ import annotations

import numpy as np

from datasets.sources.drawn.scene import Thing
from datasets.sources.drawn.scene_captions import claims
from datasets.sources.drawn.scene_shapes import PALETTE, SHAPES
from datasets.sources.drawn.scenes import NAME
from dmgan.evaluation.drawn_scenes import Seen, holds, read_scenes
from dmgan.evaluation.metrics.metric import Confusion, Metric, Part, Score, Settings, Sums, Value, metrics

__all__ = ["SceneAccuracy"]

_MISSING = "none"
_SHAPES = (*SHAPES, _MISSING)
_COLOURS = (*PALETTE, _MISSING)


def _colour_of(thing: Thing, named: set[str], seen: dict[str, Seen]) -> str:
    """Its own colour where that is seen, else that of a thing of its shape whose colour the caption does not name."""
    if thing.colour in seen:
        return thing.colour
    return next((c for c, other in seen.items() if other.shape == thing.shape and c not in named), _MISSING)


class SceneAccuracy(Metric):
    """Of what captions name the share that pictures show: colours, things (colour and shape), relations, all.

    A colour is seen where any thing has it; a relation holds where both of its things' colours are seen and lie so.
    What is seen and what cannot be is said in `dmgan.evaluation.drawn_scenes`.
    """

    scores = (
        Score("object_accuracy", "objects as captioned", "share of named objects", "higher", percent=True, digits=1),
        Score("object_colours", "colours as captioned", "share of named colours", "higher", percent=True, digits=1),
        Score("relation_accuracy", "relations as captioned", "share of relations", "higher", percent=True, digits=1),
        Score("scene_accuracy", "whole captions", "share of images", "higher", percent=True, digits=1),
    )

    def wanted(self, settings: Settings) -> bool:
        return settings.dataset == NAME

    def generated(self, part: Part, settings: Settings) -> Sums:
        pairs = zip(part.captions, read_scenes(part.images), strict=True)
        shapes = np.zeros((len(_SHAPES),) * 2, np.int64)
        colours = np.zeros((len(_COLOURS),) * 2, np.int64)
        relations, whole = np.zeros(2, np.int64), np.zeros(2, np.int64)
        for caption, seen in pairs:
            said = claims(caption)
            named = {thing.colour for thing in said.things}
            right = [seen[t.colour].shape if t.colour in seen else _MISSING for t in said.things]
            for thing, shape in zip(said.things, right, strict=True):
                shapes[_SHAPES.index(thing.shape), _SHAPES.index(shape)] += 1
                colours[_COLOURS.index(thing.colour), _COLOURS.index(_colour_of(thing, named, seen))] += 1
            hold = [holds(seen, a.colour, direction, b.colour) for a, direction, b in said.relations]
            relations += (sum(hold), len(hold))
            things = [thing.shape == shape for thing, shape in zip(said.things, right, strict=True)]
            whole += (all(things) and all(hold), 1)
        return {"shapes": shapes, "colours": colours, "relations": relations, "whole": whole}

    def real(self, part: Part, settings: Settings) -> Sums:
        return self.generated(part, settings)

    def result(self, generated: Sums, real: Sums, settings: Settings) -> dict[str, Value]:
        shapes, colours = generated["shapes"], generated["colours"]
        found: dict[str, Value] = {}
        if shapes.sum():
            found["object_accuracy"] = float(np.trace(shapes) / shapes.sum())
            found["object_colours"] = float(np.trace(colours) / colours.sum())
        for name, (right, all_of_them) in (
            ("relation_accuracy", generated["relations"]),
            ("scene_accuracy", generated["whole"]),
        ):
            if all_of_them:
                found[name] = float(right / all_of_them)
        return found

    def ceiling(self, real: Sums, settings: Settings) -> dict[str, Value]:
        return self.result(real, {}, settings)

    def confusions(self, sums: Sums, settings: Settings) -> dict[str, Confusion]:
        return {
            "shape of the thing of a named colour": Confusion(_SHAPES, sums["shapes"]),
            "colour of a named thing": Confusion(_COLOURS, sums["colours"]),
        }


metrics.register("scene_accuracy", SceneAccuracy())
