"""The figures of a sweep's report, by Plotly."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from datasets.pages.kit import LAYOUT, PALETTE
from dmgan.evaluation.metrics import Score
from tune.report.compared import Difference
from tune.results import Rung
from tune.space import Parameter

__all__ = ["FEWEST", "effect", "importance", "importances", "intervals", "learning_curves", "parallel", "pareto"]

_ROOM = 36  # characters along an axis from below to above
_BINS = 4  # of a range, for means with deviations
_GREY = "#8a8f98"  # seen on light and on dark pages
_SCALE = [[0, PALETTE[4]], [0.5, PALETTE[3]], [1, PALETTE[0]]]  # of scores, the best first; seen on dark pages too
FEWEST = 6  # trials for importances, and for lines through them


def learning_curves(curves: dict[str, list[Rung]], score: Score, best: str | None) -> go.Figure:
    """A line a trial (label → rungs), the best one thick."""
    figure = go.Figure()
    for label, rungs in curves.items():
        strong = label == best
        figure.add_scatter(
            x=[rung.step for rung in rungs],
            y=[rung.scores.get(score.name) for rung in rungs],
            mode="lines+markers",
            name=label + (" (best)" if strong else ""),
            line={"width": 4 if strong else 1.5},
            opacity=1 if strong else 0.75,
        )
    figure.update_layout(
        **LAYOUT, xaxis_title="training step", yaxis_title=_upright(score), showlegend=len(curves) < 25
    )
    return figure


def _upright(score: Score) -> str:
    """For an axis from below to above, which has room for a short line: a long label's unit is on a second one."""
    return score.axis if len(score.axis) <= _ROOM else score.axis.replace(" (", "<br>(")


def parallel(table: pd.DataFrame, parameters: Sequence[Parameter], scores: Sequence[Score]) -> go.Figure:
    """Every trial with a score as a line through its values; ranges over decades have a logarithmic axis."""
    axes = [_axis(table, parameter) for parameter in parameters]
    axes += [{"label": f"{score.label} {score.arrow}", "values": table[score.name]} for score in scores]
    figure = go.Figure(
        go.Parcoords(
            dimensions=axes,
            line={"color": table["score"], "colorscale": _SCALE, "showscale": True, "colorbar": {"title": "score"}},
        )
    )
    figure.update_layout(**{**LAYOUT, "margin": {"l": 90, "r": 40, "t": 70, "b": 30}})
    return figure


def _axis(table: pd.DataFrame, parameter: Parameter) -> dict[str, Any]:
    values, label = table[parameter.key], parameter.key.split(".")[-1]
    if parameter.is_logarithmic:
        low, high = (log10(v) for v in parameter.values)
        ticks = np.linspace(low, high, 5)
        return {
            "label": label,
            "values": np.log10(values.astype(float)),
            "range": [low, high],
            "tickvals": ticks,
            "ticktext": [f"{10**t:.3g}" for t in ticks],
        }
    if parameter.is_listed:
        names = [str(v) for v in parameter.values]
        return {
            "label": label,
            "values": [names.index(str(v)) for v in values],
            "tickvals": list(range(len(names))),
            "ticktext": names,
        }
    return {"label": label, "values": values.astype(float), "range": list(parameter.values)}


def importances(table: pd.DataFrame, parameters: Sequence[Parameter]) -> dict[str, float]:
    """Each parameter's share in what makes the better trials better, by PED-ANOVA (Watanabe et al., 2023).

    Empty with fewer than six trials, or where they are all as good.
    """
    import optuna

    if len(table) < FEWEST or table["score"].nunique() < 2:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    distributions = {p.key: p.distribution() for p in parameters}
    for row in table.to_dict("records"):
        values = {p.key: p.nearest(row[p.key]) for p in parameters}
        study.add_trial(
            optuna.trial.create_trial(params=values, distributions=distributions, value=float(row["score"]))
        )
    found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    return {key: float(share) for key, share in found.items() if np.isfinite(share)}


def importance(shares: dict[str, float]) -> go.Figure:
    names = sorted(shares, key=lambda name: shares[name])
    figure = go.Figure(go.Bar(x=[shares[name] for name in names], y=names, orientation="h"))
    figure.update_layout(**LAYOUT, xaxis_title="importance (share, PED-ANOVA)", yaxis_title="")
    figure.update_yaxes(automargin=True)
    return figure


def effect(table: pd.DataFrame, parameter: Parameter, score: Score) -> go.Figure:
    """A metric over a parameter: every trial, and mean ± standard deviation of each value or part of a range.

    Of fewer than six trials there are the points alone: a line through them would be read as a trend.
    """
    figure = go.Figure()
    listed = parameter.is_listed
    values = table[parameter.key].map(str) if listed else table[parameter.key].astype(float)
    figure.add_scatter(x=values, y=table[score.name], mode="markers", name="trials", opacity=0.6, marker={"size": 8})
    _scale(figure, parameter)
    figure.update_layout(**LAYOUT, xaxis_title=parameter.key, yaxis_title=_upright(score))
    if len(table) < FEWEST:
        return figure
    groups = values if listed else _parts(values, parameter)
    grouped = pd.DataFrame({"x": values, "group": groups, "y": table[score.name]}).groupby("group", sort=False)
    rows = [(_middle(part["x"], parameter), part["y"].mean(), part["y"].std(ddof=0), len(part)) for _, part in grouped]
    rows.sort(key=lambda row: [str(v) for v in parameter.values].index(row[0]) if listed else row[0])
    figure.add_scatter(
        x=[row[0] for row in rows],
        y=[row[1] for row in rows],
        error_y={"type": "data", "array": [row[2] for row in rows], "visible": True},
        text=[f"{row[3]} trials" for row in rows],
        mode="lines+markers",
        name="mean ± std",
        line={"width": 3},
    )
    return figure


def _scale(figure: go.Figure, parameter: Parameter) -> None:
    """The axis of a parameter's values."""
    if parameter.is_listed:
        figure.update_xaxes(type="category", categoryorder="array", categoryarray=[str(v) for v in parameter.values])
    elif parameter.is_logarithmic:
        figure.update_xaxes(type="log")


def _parts(values: pd.Series, parameter: Parameter) -> pd.Series:
    """The range cut into equal parts, on its own scale."""
    scale = np.log10 if parameter.is_logarithmic else np.asarray
    low, high = (float(scale(v)) for v in parameter.values)
    share = (scale(values.to_numpy(float)) - low) / (high - low)
    return pd.Series(np.clip(share * _BINS, 0, _BINS - 1).astype(int), index=values.index)


def _middle(values: pd.Series, parameter: Parameter) -> Any:
    if parameter.is_listed:
        return values.iloc[0]
    return float(10 ** np.log10(values).mean()) if parameter.is_logarithmic else float(values.mean())


def intervals(found: Sequence[Difference], score: Score) -> go.Figure:
    """The differences of a score with their 95 % intervals, those that leave 0 out in another colour."""
    shown, factor = [each for each in found if each.score.name == score.name], 100 if score.percent else 1
    figure = go.Figure()
    for told_apart, name, colour in ((True, "told apart", PALETTE[0]), (False, "not told apart", _GREY)):
        part = [each for each in shown if each.told_apart == told_apart]
        figure.add_scatter(
            x=[factor * each.mean for each in part],
            y=[each.label for each in part],
            error_x={"type": "data", "array": [factor * each.half for each in part]},
            mode="markers",
            name=name,
            marker={"size": 9, "color": colour},
        )
    figure.add_vline(x=0, line_width=1, line_color=_GREY)
    unit = " (percentage points)" if score.percent else ""
    height, legend = 120 + 24 * len(shown), {"orientation": "h", "yanchor": "bottom", "y": 1}
    figure.update_layout(
        **{**LAYOUT, "height": height, "legend": legend}, xaxis_title=f"{score.label} {score.arrow}{unit}"
    )
    # From below to above: the first pair of the table is the topmost here, too.
    names = [each.label for each in reversed(shown)]
    figure.update_yaxes(automargin=True, categoryorder="array", categoryarray=names)
    return figure


def pareto(table: pd.DataFrame, fid: Score, precision: Score) -> go.Figure:
    """FID against R-precision; the front are the trials that none beats in both."""
    front = table[[not _beaten(table, row) for _, row in table.iterrows()]].sort_values("fid")
    figure = go.Figure()
    figure.add_scatter(x=table["fid"], y=table["r_precision"], mode="markers", name="trials", text=table["trial"])
    figure.add_scatter(
        x=front["fid"],
        y=front["r_precision"],
        mode="lines+markers" if len(table) >= FEWEST else "markers",
        name="Pareto front",
        text=front["trial"],
    )
    figure.update_layout(**LAYOUT, xaxis_title=fid.axis, yaxis_title=_upright(precision))
    return figure


def _beaten(table: pd.DataFrame, row: Any) -> bool:
    better = (table["fid"] <= row["fid"]) & (table["r_precision"] >= row["r_precision"])
    strictly = (table["fid"] < row["fid"]) | (table["r_precision"] > row["r_precision"])
    return bool((better & strictly).any())
