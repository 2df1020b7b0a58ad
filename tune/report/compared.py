"""Comparing a sweep's configurations over seeds: means, paired differences, parameters, cost, published rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import median

import pandas as pd
import torch

from dmgan.architectures import build_generator
from dmgan.evaluation.metrics import Score
from dmgan.evaluation.record import read_evaluation
from dmgan.report.scores import PUBLISHED
from tune.report.content import WholeSweep, short
from tune.results import Trial, trial_run

__all__ = ["Difference", "cost", "differences", "interval", "over_seeds", "paired", "published"]

# 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NEEDS = {
    "GAWWN": "positions of the bird's parts, or its box, beside every caption",
    "PPGN": "a classifier and a captioning network trained on other data, and an optimisation for every image",
}
_PAIRS = 28  # of configurations, at most


def interval(differences: list[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval by Student's t; needs two differences or more."""
    n = len(differences)
    mean = sum(differences) / n
    deviation = sqrt(sum((value - mean) ** 2 for value in differences) / (n - 1))
    return mean, _T[min(n - 1, len(_T)) - 1] * deviation / sqrt(n)


def cost(sweep: WholeSweep, trial: Trial) -> dict[str, float | None]:
    """A trial's size and step: parameters of its generator, in millions, and seconds a step as it was trained."""
    run = trial_run(sweep.run, trial.id)
    record = run.read_generator_record()
    parameters = None
    if record is not None:
        with torch.device("meta"):
            parameters = sum(p.numel() for p in build_generator(record.model).parameters()) / 1e6
    seconds = None
    lines = [line for line in run.read_metrics() if line.stage == "train" and line.images_per_second > 0]
    if lines:
        train = run.read_config().train
        seconds = train.images_a_step * train.workers / median(line.images_per_second for line in lines)
    return {"generator, M parameters": parameters, "s a step": seconds}


def over_seeds(sweep: WholeSweep) -> pd.DataFrame | None:
    """A row a configuration: mean ± standard deviation over its seeds, its size and its step's cost.

    The last row is the ceiling: what the real test images get.
    """
    groups = _groups(sweep)
    if groups is None:
        return None
    rows = []
    for values, part in groups:
        row: dict[str, object] = {**{key: short(value) for key, value in values.items()}, "seeds": len(part)}
        for score in sweep.compared_scores:
            found = part[score.name].astype(float)
            spread = f" ± {_number(score, found.std(ddof=1))}" if len(part) > 1 else ""
            row[_label(score)] = f"{_number(score, found.mean())}{spread}"
        costs = [cost(sweep, sweep.trials[int(label[1:]) - 1]) for label in part["trial"]]
        for name in costs[0]:
            known = [value for each in costs if (value := each[name]) is not None]
            row[name] = f"{sum(known) / len(known):.3g}" if known else ""
        rows.append(row)
    return pd.DataFrame([*rows, *_ceiling(sweep, list(rows[0]))])


def _ceiling(sweep: WholeSweep, columns: list[str]) -> list[dict[str, object]]:
    """A row of what the real test images get by the first trial's measures, where its evaluation has any of it."""
    first = next(trial for trial in sweep.trials if trial.score is not None)
    evaluation = read_evaluation(trial_run(sweep.run, first.id))
    if evaluation is None or not evaluation.real_scores:
        return []
    real = evaluation.real_scores
    row: dict[str, object] = dict.fromkeys(columns, "")
    row[columns[0]] = f"real test images, by {sweep.label(first)}'s measures"
    for score in sweep.compared_scores:
        if score.name in real:
            row[_label(score)] = _number(score, score.of(real))
    return [row]


@dataclass(frozen=True)
class Difference:
    """Of a score, from one configuration to another, seed by seed: the mean, and half its 95 % interval."""

    one: str
    other: str
    score: Score
    seeds: int
    mean: float
    half: float

    @property
    def label(self) -> str:
        return f"{self.one} → {self.other}"

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves 0 out."""
        return abs(self.mean) > self.half

    @property
    def better(self) -> str:
        return self.other if (self.mean < 0) == (self.score.better == "lower") else self.one


def differences(sweep: WholeSweep) -> list[Difference]:
    """Between every two configurations that have two seeds in common or more."""
    groups, found = _groups(sweep) or [], []
    for (one, of_one), (other, of_other) in list(combinations(groups, 2))[:_PAIRS]:
        both = of_one.merge(of_other, on="train.seed", suffixes=("", "'"))
        if len(both) < 2:
            continue
        for score in sweep.compared_scores:
            each = both[score.name + "'"].astype(float) - both[score.name].astype(float)
            found.append(Difference(_name(one), _name(other), score, len(both), *interval(each.tolist())))
    return found


def paired(sweep: WholeSweep) -> pd.DataFrame | None:
    """Of every two configurations the differences of their scores seed by seed: mean with its 95 % interval."""
    rows = [
        {
            "from": each.one,
            "to": each.other,
            "score": _label(each.score),
            "seeds": each.seeds,
            "difference": f"{_number(each.score, each.mean, '+')} ± {_number(each.score, each.half)}",
            "": f"{each.better} is better" if each.told_apart else "not told apart",
        }
        for each in differences(sweep)
    ]
    return pd.DataFrame(rows) if rows else None


def published(sweep: WholeSweep) -> pd.DataFrame | None:
    """The paper's Table 1, beside a sweep over systems, with what those would need that cannot be trained here."""
    systems = [p for p in sweep.space.parameters if any("model.architecture" in case for case in p.cases.values())]
    if not systems:
        return None
    rows = [
        {
            "published": method,
            "data": data,
            "IS ↑": inception,
            "FID ↓": fid,
            "R-precision ↑": precision,
            "not trained here: needs": _NEEDS.get(method, ""),
        }
        for method, data, inception, fid, precision in PUBLISHED
    ]
    return pd.DataFrame(rows)


def _groups(sweep: WholeSweep) -> list[tuple[Mapping[str, object], pd.DataFrame]] | None:
    """The configurations without their seeds, each with its scored trials at the last step; None without seeds."""
    keys = [parameter.key for parameter in sweep.space.hyperparameters]
    if "train.seed" not in sweep.space.keys or not keys or not sweep.scored:
        return None
    table = sweep.table(sweep.scored[0].step)
    table["group"] = [json.dumps([row[key] for key in keys]) for row in table.to_dict("records")]
    parts = [({key: part[key].iloc[0] for key in keys}, part) for _, part in table.groupby("group", sort=False)]
    order = {p.key: [str(value) for value in p.values] for p in sweep.space.parameters if p.is_listed}
    return sorted(parts, key=lambda part: [order[k].index(str(v)) for k, v in part[0].items() if k in order])


def _name(values: Mapping[str, object]) -> str:
    return ", ".join(str(value) for value in values.values())


def _number(score: Score, value: float, sign: str = "") -> str:
    """Without its unit, which the column's label has."""
    return f"{value * (100 if score.percent else 1):{sign}.{score.digits}f}"


def _label(score: Score) -> str:
    return f"{score.label} {score.arrow}" + (" (%)" if score.percent else "")
