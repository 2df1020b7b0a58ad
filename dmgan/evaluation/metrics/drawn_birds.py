"""On `birds-2`: is every attribute that a caption names the one that its picture shows?"""

from __future__ import annotations

import numpy as np

from datasets.sources.drawn.bird_captions import named
from datasets.sources.drawn.birds2 import NAME
from dmgan.evaluation.drawn_birds import ATTRIBUTES, read_birds
from dmgan.evaluation.metrics.metric import Confusion, Metric, Part, Score, Settings, Sums, Value, metrics

__all__ = ["AttributeAccuracy"]

_LABELS = {
    "body": "body colour",
    "wing": "wing colour",
    "breast": "breast colour",
    "crown": "crown colour",
    "beak": "beak colour",
    "size": "size",
    "pose": "pose",
}


class AttributeAccuracy(Metric):
    """Of the images whose caption names an attribute the share that shows it, and the mean of these shares.

    What is seen and what cannot be is said in `dmgan.evaluation.drawn_birds`.
    """

    scores = (
        Score("attribute_accuracy", "named attributes, mean", "share of images", "higher", percent=True, digits=1),
        *(
            Score(
                f"{name}_accuracy",
                f"{label} as captioned",
                "share of images",
                "higher",
                percent=True,
                digits=1,
                chance=1 / len(ATTRIBUTES[name]),
            )
            for name, label in _LABELS.items()
        ),
    )

    def wanted(self, settings: Settings) -> bool:
        return settings.dataset == NAME

    def generated(self, part: Part, settings: Settings) -> Sums:
        counts = {name: np.zeros((len(values),) * 2, np.int64) for name, values in ATTRIBUTES.items()}
        for caption, seen in zip(part.captions, read_birds(part.images), strict=True):
            for name, value in named(caption).items():
                if name in counts:
                    values = ATTRIBUTES[name]
                    counts[name][values.index(value), values.index(seen[name])] += 1
        return dict(counts)

    def real(self, part: Part, settings: Settings) -> Sums:
        return self.generated(part, settings)

    def result(self, generated: Sums, real: Sums, settings: Settings) -> dict[str, Value]:
        shares = {name: float(np.trace(counts) / counts.sum()) for name, counts in generated.items() if counts.sum()}
        found: dict[str, Value] = {f"{name}_accuracy": share for name, share in shares.items()}
        return {"attribute_accuracy": float(np.mean(list(shares.values()))), **found} if shares else {}

    def ceiling(self, real: Sums, settings: Settings) -> dict[str, Value]:
        return self.result(real, {}, settings)

    def confusions(self, sums: Sums, settings: Settings) -> dict[str, Confusion]:
        return {_LABELS[name]: Confusion(ATTRIBUTES[name], counts) for name, counts in sums.items()}


metrics.register("attribute_accuracy", AttributeAccuracy())
