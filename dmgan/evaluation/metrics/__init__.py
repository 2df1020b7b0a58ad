"""The metrics, one file each, in the order of their columns. They register as they are imported."""

from dmgan.evaluation.metrics import inception_score, fid, r_precision, clip_score  # isort: skip
from dmgan.evaluation.metrics import colour_accuracy, drawn_birds, drawn_scenes, gathered  # isort: skip
from dmgan.evaluation.metrics.metric import (
    Confusion,
    Metric,
    Numbers,
    Part,
    Ranked,
    Score,
    Settings,
    Sums,
    Value,
    metrics,
    scores_of,
)

__all__ = [
    "Confusion",
    "Metric",
    "Numbers",
    "Part",
    "Ranked",
    "Score",
    "Settings",
    "Sums",
    "Value",
    "clip_score",
    "colour_accuracy",
    "drawn_birds",
    "drawn_scenes",
    "fid",
    "gathered",
    "inception_score",
    "metrics",
    "r_precision",
    "scores_of",
]
