"""How a run trained, and others beside it: losses, statistics, speed and learning rates as curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from datasets.pages.kit import LAYOUT, PALETTE, figure
from dmgan.runs.metrics import MetricsLine

__all__ = ["RunMetrics", "smoothed", "training_sections"]

RunMetrics = tuple[str, Sequence[MetricsLine]]  # a run's name and its metrics.jsonl

_STAGES = (("train", "GAN", "GAN"), ("pretrain", "DAMSM pre-training of the encoders", "Encoders"))
_TITLES = {
    "discriminator": ("Discriminators' losses", "loss (nats)"),
    "generator": ("Generator's adversarial losses", "loss (nats)"),
    "conditioning": ("Conditioning augmentation's loss (Eq. 13)", "loss (nats)"),
    "words": ("DAMSM loss of words", "loss (nats)"),
    "sentence": ("DAMSM loss of sentences", "loss (nats)"),
    "accuracy": ("Discriminators' accuracy: 0.5 is guessing, 1 has won", "share told apart"),
    "diversity": ("Diversity: generated images differ as much as real ones at 1", "ratio to real images"),
}
_DASHES = (("solid", ""), ("dash", "6 4"), ("dot", "2 3"), ("dashdot", "7 3 2 3"))  # of a run, for Plotly and for SVG
_NEUTRAL = PALETTE[-1]  # of what is not of one image stage
_RATE = "learning rate"
_POINTS = 800  # of a curve in the page, at most
_FEWEST = 12  # lines that are smoothed
_SHARE = 0.05  # of the lines that a smoothed one is the mean of
_FAINT = 0.3


@dataclass(frozen=True)
class _Curve:
    run: int
    name: str
    colour: str
    steps: np.ndarray
    values: np.ndarray


def training_sections(runs: Sequence[RunMetrics], pixels: Sequence[int] = ()) -> list[dict[str, object]]:
    """What `templates/training.html` needs of the first of the runs, with the curves of the others beside its own.

    `pixels` are the sizes of its image stages.
    """
    sections = []
    for name, title, short in _STAGES:
        lines = [(run, [line for line in metrics if line.stage == name]) for run, metrics in runs]
        own = lines[0][1]
        if own:
            plots = _plots(lines)
            staged = any(len({curve.name for curve in curves}) > 1 for _, curves in plots)
            sections.append(
                {
                    "title": title,
                    "short": short,
                    "warnings": _warnings(own),
                    "legend": _legend([run for run, found in lines if found], pixels if staged else ()),
                    "window": _window(len(own)),
                    "plots": [_drawn(group, curves) for group, curves in plots],
                }
            )
    return sections


def _warnings(lines: Sequence[MetricsLine]) -> list[tuple[str, int, int]]:
    """What training warned of, each thing once with the steps of its first and last line."""
    seen: dict[str, list[int]] = {}
    for line in lines:
        for text in line.warnings:
            seen.setdefault(text.partition(":")[0], []).append(line.step)
        if line.skipped is not None:
            seen.setdefault("samples could not be read and were replaced", []).append(line.step)
    return [(text, steps[0], steps[-1]) for text, steps in seen.items()]


def _plots(runs: Sequence[RunMetrics]) -> list[tuple[str, list[_Curve]]]:
    """The curves of each figure, by what it is of; those of the first run say which there are."""
    found: dict[str, list[_Curve]] = {}
    for number, (_, lines) in enumerate(runs):
        series: dict[str, tuple[list[int], list[float]]] = {}
        for line in lines:
            for name, value in _values(line).items():
                steps, values = series.setdefault(name, ([], []))
                steps.append(line.step)
                values.append(value)
        for name, (steps, values) in series.items():
            group, _, index = name.rpartition("_")
            of_stage = bool(group) and index.isdigit()
            colour = PALETTE[int(index) % len(PALETTE)] if of_stage else _NEUTRAL
            key = group if of_stage else name
            if number == 0 or key in found:
                made = _Curve(number, name, colour, np.array(steps), np.array(values, np.float32))
                found.setdefault(key, []).append(made)
    return list(found.items())


def _values(line: MetricsLine) -> dict[str, float]:
    rates = {f"{_RATE} of the {name}": rate for name, rate in line.learning_rates.items()}
    return {**line.losses, **line.statistics, "images/s": line.images_per_second, **rates}


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of each value (n,) and of its neighbours in a window about it, of which there are fewer at the ends."""
    window = min(window, len(values))
    ones = np.ones(window)
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def _window(lines: int) -> int:
    """Lines that one of a smoothed curve is the mean of; 1 where there are too few to smooth."""
    return 1 if lines < _FEWEST else max(3, round(_SHARE * lines) | 1)


def _drawn(group: str, curves: Sequence[_Curve]) -> object:
    title, axis = _TITLES.get(group, (f"{group[:1].upper()}{group[1:]}", group))
    steady = group.startswith(_RATE)  # is no measurement: there is nothing to smooth
    plot, axis = go.Figure(), _RATE if steady else axis
    for curve in curves:
        window = 1 if steady else _window(len(curve.values))
        dash = _DASHES[curve.run % len(_DASHES)][0]
        line = {"color": curve.colour, "width": 2, "dash": dash}
        if window > 1:
            steps, values = _thinned(curve.steps, curve.values)
            raw = {"color": curve.colour, "width": 1}
            plot.add_scatter(x=steps, y=values, mode="lines", line=raw, opacity=_FAINT, hoverinfo="skip")
        steps, values = _thinned(curve.steps, smoothed(curve.values, window))
        mode = "lines" if len(values) > 1 else "markers"
        plot.add_scatter(x=steps, y=values, mode=mode, line=line, name=curve.name)
    plot.update_layout(**{**LAYOUT, "height": 260, "showlegend": False})
    plot.update_xaxes(title="step")
    plot.update_yaxes(title=axis, rangemode="tozero" if group == "images/s" or steady else "normal")
    if group == "accuracy":
        plot.update_yaxes(range=[0, 1.02])
    return figure(plot, title)


def _thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of neighbours, where there are more than a page needs; float32 takes half the room in it."""
    every = -(-len(values) // _POINTS)
    starts = np.arange(0, len(values), every)
    counts = np.diff([*starts, len(values)])
    return steps[starts + counts - 1], (np.add.reduceat(values.astype(np.float64), starts) / counts).astype(np.float32)


def _legend(runs: Sequence[str], pixels: Sequence[int]) -> list[tuple[str, str, str]]:
    """One for all figures of a training: colours are image stages, dashes are runs."""
    entries = [(f"stage {i}, {size} pixels", PALETTE[i % len(PALETTE)], "") for i, size in enumerate(pixels)]
    if entries:
        entries.append(("not of one stage", _NEUTRAL, ""))
    if len(runs) > 1:
        entries += [(run, "currentColor", _DASHES[i % len(_DASHES)][1]) for i, run in enumerate(runs)]
    return entries
