"""What a run's report says of its scores: beside the paper's, over checkpoints, by class, best and worst match."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from datasets import storage
from datasets.pages.kit import LAYOUT, PALETTE, figure, percent, picture
from dmgan.evaluation.metrics import Score, metrics
from dmgan.evaluation.protocol import differences
from dmgan.evaluation.record import ConfusionTable, Evaluation, evaluations_of, read_evaluation
from dmgan.report.pictures import bounded
from dmgan.runs.run import Run

__all__ = ["PUBLISHED", "score_sections"]

# Zhu et al. (2019), Tables 1 and 2: method, data, IS, FID, R-precision %; and of the weights they released, their
# repository's figures.
PUBLISHED = [
    ("GAN-INT-CLS", "CUB", "2.88 ± 0.04", "", ""),
    ("GAWWN", "CUB", "3.62 ± 0.07", "", ""),
    ("StackGAN", "CUB", "3.70 ± 0.04", "", ""),
    ("AttnGAN", "CUB", "4.36 ± 0.03", "23.98", "67.82 ± 4.43 %"),
    ("DM-GAN", "CUB", "4.75 ± 0.07", "16.09", "72.31 ± 0.91 %"),
    ("DM-GAN, released weights", "CUB", "4.71", "15.34", "76.58 %"),
    ("GAN-INT-CLS", "COCO", "7.88 ± 0.07", "", ""),
    ("StackGAN", "COCO", "8.45 ± 0.03", "", ""),
    ("PPGN", "COCO", "9.58 ± 0.21", "", ""),
    ("AttnGAN", "COCO", "25.89 ± 0.47", "35.49", "85.47 ± 3.69 %"),
    ("DM-GAN", "COCO", "30.49 ± 0.57", "32.64", "88.56 ± 0.28 %"),
    ("DM-GAN, released weights", "COCO", "32.43", "26.55", "92.23 %"),
]
_PUBLISHED_SCORES = ("inception_score", "fid", "r_precision")
_CLASSES_SHOWN = 10
_EXTREME = 128  # pixels of the best and worst images, at most
_PLOT = {**LAYOUT, "height": 320}


def score_sections(run: Run, beside: Sequence[Run] = ()) -> dict[str, object]:
    """What `templates/scores.html` needs; `beside` are other runs for the table."""
    measured = [(other, read_evaluation(other)) for other in (run, *beside)]
    own = measured[0][1]
    return {
        "table": _table(measured),
        "curve": _curve([(each.name, evaluation) for each in (run, *beside) for evaluation in evaluations_of(each)]),
        "confusions": _confusions(own) if own is not None else [],
        "extremes": _extremes(run, own) if own is not None else [],
        "classes": _classes(own) if own is not None else None,
    }


def _table(measured: Sequence[tuple[Run, Evaluation | None]]) -> dict[str, object]:
    """A row an evaluation and a published one, a column a score that any evaluation has."""
    evaluations = [evaluation for _, evaluation in measured if evaluation is not None]
    columns = _columns(evaluations)
    rows = [
        {
            "name": run.name,
            "step": evaluation.step,
            "data": evaluation.data.rstrip("/").rsplit("/", 1)[-1],
            "about": f"{evaluation.protocol['name']}; {evaluation.images:,} images; {evaluation.features} features",
            "figures": [score.shown(evaluation.values) if score.name in evaluation.values else "" for score in columns],
        }
        for run, evaluation in measured
        if evaluation is not None
    ]
    rows += [
        {
            "name": f"real test images, by {run.name}'s measures",
            "step": None,
            "data": evaluation.data.rstrip("/").rsplit("/", 1)[-1],
            "about": "the ceiling of what compares images with captions",
            "figures": [evaluation.ceiling(score) for score in columns],
        }
        for run, evaluation in measured
        if evaluation is not None and evaluation.real_scores
    ]
    published = []
    for method, data, *figures in PUBLISHED:
        of = dict(zip(_PUBLISHED_SCORES, figures, strict=True))
        published.append({"method": method, "data": data, "figures": [of.get(score.name, "") for score in columns]})
    return {"columns": columns, "measured": rows, "published": published, "notes": _notes(measured)}


def _columns(evaluations: Sequence[Evaluation]) -> list[Score]:
    """The published scores, and whatever else an evaluation has, in the order of registration."""
    known = [score for metric in metrics.values() for score in metric.scores]
    return [
        score
        for score in known
        if score.name in _PUBLISHED_SCORES or any(score.name in evaluation.values for evaluation in evaluations)
    ]


def _notes(measured: Sequence[tuple[Run, Evaluation | None]]) -> list[str]:
    """What a reader must know before comparing."""
    notes = []
    first, own = measured[0]
    for run, evaluation in measured:
        if evaluation is None:
            notes.append(f"No evaluation of {run.name} yet: python -m dmgan.launch evaluate.")
            continue
        notes.append(_protocol_note(run, evaluation))
        notes += [f"{run.name}: {caveat}." for caveat in evaluation.caveats]
        if own is not None and evaluation is not own and (other := differences(own.protocol, evaluation.protocol)):
            notes.append(
                f"{run.name} is not comparable with {first.name}: their protocols differ in {'; '.join(other)}."
            )
    return notes


def _protocol_note(run: Run, evaluation: Evaluation) -> str:
    protocol = evaluation.protocol
    ranking, real = protocol["r_precision"], protocol["real"]
    against = f"{real['images']:,} real images" if "images" in real else f"the statistics of {real['statistics']}"
    name = protocol["name"] + (f" ({', '.join(protocol['departures'])})" if protocol["departures"] else "")
    weights = "averaged (EMA) weights" if protocol["weights"] == "ema" else "raw weights"
    note = (
        f"{run.name}: protocol {name}; {protocol['images']:,} images of {protocol['pixels']} pixels from unseen "
        f"captions by the {weights}, FID against {against}, IS in {protocol['inception_score']['splits']} splits, "
        f"R-precision with {ranking['distractors']} mismatching captions in {ranking['folds']} folds (chance "
        f"{percent(1 / (ranking['distractors'] + 1))}), seed {protocol['seed']}, in {evaluation.seconds} s."
    )
    if evaluation.features != "inception-v3":
        note += (
            f" IS and FID are on {evaluation.features} features, not on Inception-v3: they compare runs that share the "
            "extractor and cannot be set against the published rows."
        )
    return note


_Named = tuple[str, Evaluation]  # with the name of its run


def _curve(evaluations: Sequence[_Named]) -> dict[str, object] | None:
    """Scores over training, a line for each run and protocol."""
    if len(evaluations) < 2:
        return None
    lines: list[list[_Named]] = []
    for name, evaluation in evaluations:
        for line in lines:
            if line[0][0] == name and not differences(line[0][1].protocol, evaluation.protocol):
                line.append((name, evaluation))
                break
        else:
            lines.append([(name, evaluation)])
    note = "Mean and standard deviation over splits and folds."
    others = [differences(lines[0][0][1].protocol, line[0][1].protocol) for line in lines[1:]]
    if other := next(filter(None, others), None):
        note += f" The lines are of different protocols and do not compare: {'; '.join(other)}."
    plots = [figure(_over_steps(score, lines), f"{score.label} {score.arrow}") for score in evaluations[-1][1].scores]
    return {"note": note, "plots": plots}


def _over_steps(score: Score, lines: Sequence[Sequence[_Named]]) -> go.Figure:
    plot = go.Figure()
    runs = {name for line in lines for name, _ in line}
    for i, line in enumerate(lines):
        having = [evaluation for _, evaluation in line if score.name in evaluation.values]
        deviations = [score.deviation(evaluation.values) or 0.0 for evaluation in having]
        name, first = line[0]
        plot.add_scatter(
            x=[evaluation.step for evaluation in having],
            y=[score.of(evaluation.values) for evaluation in having],
            error_y={"type": "data", "array": deviations, "visible": any(deviations)},
            mode="lines+markers",
            line={"color": PALETTE[i % len(PALETTE)]},
            name=f"{name + ': ' if len(runs) > 1 else ''}{first.protocol['name']}, {first.weights}",
        )
    plot.update_layout(**_PLOT, xaxis_title="training step", yaxis_title=score.unit, showlegend=len(lines) > 1)
    return plot


def _confusions(evaluation: Evaluation) -> list[object]:
    """A map an attribute: of what captions name as a row the share that is seen as each column."""
    return [
        figure(_confusion(table), f"{name}: named by the caption, and seen")
        for name, table in evaluation.confusions.items()
    ]


def _confusion(table: ConfusionTable) -> go.Figure:
    counts = np.array(table.counts, np.float64)
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    plot = go.Figure(
        go.Heatmap(
            z=shares,
            x=table.labels,
            y=table.labels,
            customdata=counts,
            colorscale="Blues",
            zmin=0,
            zmax=100,
            colorbar={"title": "%"},
            hovertemplate="named %{y}, seen %{x}: %{z:.1f} % (%{customdata:.0f} images)<extra></extra>",
        )
    )
    plot.update_layout(**_PLOT, xaxis_title="seen", yaxis_title="named")
    plot.update_yaxes(autorange="reversed")
    return plot


def _extremes(run: Run, evaluation: Evaluation) -> list[tuple[str, list[tuple[object, object]]]]:
    location = run.path("evaluations", f"{evaluation.name}.png")
    if not storage.exists(location):
        return []
    with Image.open(io.BytesIO(storage.read_bytes(location))) as image:
        pixels = np.asarray(image.convert("RGB"))
    size = pixels.shape[0] // 2

    def cells(row: int) -> list[tuple[object, object]]:
        shown = (evaluation.best, evaluation.worst)[row]
        part = pixels[row * size : (row + 1) * size]
        images = [bounded(part[:, i * size : (i + 1) * size], _EXTREME) for i in range(len(shown))]
        return [(picture(image, entry.caption), entry) for image, entry in zip(images, shown, strict=True)]

    return [("best", cells(0)), ("worst", cells(1))]


def _classes(evaluation: Evaluation) -> dict[str, object] | None:
    classes = evaluation.r_precision_by_class
    if not classes:
        return None
    shares = sorted(row.r_precision for row in classes)
    plot = go.Figure(go.Bar(x=list(range(1, len(shares) + 1)), y=shares, marker={"color": PALETTE[0]}))
    plot.update_layout(**_PLOT, xaxis_title="class, by rank", yaxis_title="R-precision (share of images, ↑)")
    chosen = classes if len(classes) <= 2 * _CLASSES_SHOWN else [*classes[:_CLASSES_SHOWN], *classes[-_CLASSES_SHOWN:]]
    more = f" The {_CLASSES_SHOWN} worst and best of {len(classes)}." if len(chosen) < len(classes) else ""
    return {"rows": chosen, "more": more, "plot": figure(plot, "R-precision of each class, the worst first")}
