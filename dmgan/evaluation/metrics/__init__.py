"""The metrics, one file each, in the order of their columns. They register as they are imported."""

from dmgan.evaluation.metrics import inception_score, fid, r_precision, colour_accuracy, gathered  # isort: skip
from dmgan.evaluation.metrics.metric import Metric, Numbers, Part, Score, Settings, Sums, Value, metrics, scores_of

__all__ = [
    "Metric",
    "Numbers",
    "Part",
    "Score",
    "Settings",
    "Sums",
    "Value",
    "colour_accuracy",
    "fid",
    "gathered",
    "inception_score",
    "metrics",
    "r_precision",
    "scores_of",
]
