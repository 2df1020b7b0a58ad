"""The report's scores: beside the paper's, over checkpoints, by class, and the images that match best and worst."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from datasets import storage
from dmgan.config import ConfigError
from dmgan.evaluation.protocol import differences
from dmgan.report.figures import percent, picture, svg
from dmgan.runs.run import Run

__all__ = ["PUBLISHED", "read_evaluation", "score_sections"]

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
_CLASSES_SHOWN = 10


def score_sections(run: Run, beside: Sequence[Run] = ()) -> str:
    """Everything the report says of evaluations; `beside` are other runs for the table."""
    measured = [(other, _read(other)) for other in (run, *beside)]
    own = measured[0][1]
    parts = [_table(measured), _curve(_by_step(run))]
    if own is not None:
        parts += [_extremes(run, own), _classes(own)]
    return "".join(parts)


def _read(run: Run) -> dict[str, Any] | None:
    return read_evaluation(run, "evaluation.json") if run.has("evaluation.json") else None


def read_evaluation(run: Run, name: str) -> dict[str, Any]:
    """An evaluation of this version. Raises ConfigError where it is of another, or damaged."""
    found = run.read_json(name)
    wanted = ("fid", "inception_score", "r_precision", "protocol", "settings", "best", "r_precision_by_class", "step")
    if not isinstance(found, dict) or any(key not in found for key in wanted):
        raise ConfigError(f"{run.path(name)}: of another version; run `python -m dmgan.launch evaluate` again")
    return found


def _by_step(run: Run) -> list[dict[str, Any]]:
    """All evaluations of the run, by step."""
    names = storage.list_sizes(run.path("evaluations")) if run.has("evaluations") else {}
    found = [read_evaluation(run, f"evaluations/{name}") for name in names if name.endswith(".json")]
    return sorted(found, key=lambda evaluation: evaluation["step"])


def _table(measured: Sequence[tuple[Run, dict[str, Any] | None]]) -> str:
    own = measured[0][1]
    rows, notes = "", []
    for run, evaluation in measured:
        if evaluation is None:
            notes.append(f"No evaluation of {html.escape(run.name)} yet: <code>python -m dmgan.launch evaluate</code>.")
            continue
        rows += _measured_row(run, evaluation)
        notes.append(_protocol_note(run, evaluation))
        if own is not None and evaluation is not own:
            different = differences(own["protocol"], evaluation["protocol"])
            if different:
                notes.append(
                    f"<b>{html.escape(run.name)} is not comparable with {html.escape(measured[0][0].name)}</b>: their "
                    f"protocols differ in {html.escape('; '.join(different))}."
                )
    for method, data, *figures in PUBLISHED:
        cells = "".join(f"<td>{figure or '–'}</td>" for figure in figures)
        rows += f"<tr><td>{method}</td><td>{data}</td><td>published</td>{cells}</tr>"
    notes.append(
        "Published rows: Zhu et al. (2019), Tables 1 and 2, and the figures of their released weights, on 30,000 "
        "images of 256 pixels, each with the extractors its authors used; theirs for CUB was fine-tuned on birds. "
        "Compare with them a row of protocol <i>paper</i> on the same data only."
    )
    listed = "".join(f"<p class='note'>{note}</p>" for note in notes)
    return (
        "<h2>Scores beside the paper's</h2><div class='scroll'><table><tr><th></th><th>data</th><th></th><th>IS ↑</th>"
        f"<th>FID ↓</th><th>R-precision ↑</th></tr>{rows}</table></div>{listed}"
    )


def _measured_row(run: Run, evaluation: dict[str, Any]) -> str:
    inception, precision = evaluation["inception_score"], evaluation["r_precision"]
    data = html.escape(str(evaluation["settings"]["data"]).rstrip("/").rsplit("/", 1)[-1])
    figures = (
        f"{inception['mean']:.2f} ± {inception['std']:.2f}",
        f"{evaluation['fid']:.2f}",
        f"{100 * precision['mean']:.2f} ± {100 * precision['std']:.2f} %",
    )
    cells = "".join(f"<td>{figure}</td>" for figure in figures)
    about = f"{evaluation['protocol']['name']}; {evaluation['images']:,} images; {evaluation['features']} features"
    return (
        f"<tr class='measured'><td>{html.escape(run.name)}, step {evaluation['step']}</td><td>{data}</td>"
        f"<td><b>measured here</b>: {html.escape(about)}</td>{cells}</tr>"
    )


def _protocol_note(run: Run, evaluation: dict[str, Any]) -> str:
    protocol = evaluation["protocol"]
    ranking, real = protocol["r_precision"], protocol["real"]
    against = f"{real['images']:,} real images" if "images" in real else f"the statistics of {real['statistics']}"
    name = protocol["name"] + (f" ({', '.join(protocol['departures'])})" if protocol["departures"] else "")
    weights = "averaged (EMA) weights" if protocol["weights"] == "ema" else "raw weights"
    note = (
        f"{run.name}: protocol {name}; {protocol['images']:,} images of {protocol['pixels']} pixels from unseen "
        f"captions by the {weights}, FID against {against}, IS in {protocol['inception_score']['splits']} splits, "
        f"R-precision with {ranking['distractors']} mismatching captions in {ranking['folds']} folds (chance "
        f"{percent(1 / (ranking['distractors'] + 1))}), seed {protocol['seed']}, in {evaluation['seconds']} s."
    )
    for key in ("kid", "precision", "recall"):
        if key in evaluation:
            value = evaluation[key]
            text = f"{value['mean']:.4f} ± {value['std']:.4f}" if isinstance(value, Mapping) else f"{value:.3f}"
            note += f" {'KID' if key == 'kid' else key.capitalize()} {text}."
    note = html.escape(note)
    if evaluation["features"] != "inception-v3":
        note += (
            f" <b>IS and FID are on {html.escape(evaluation['features'])} features, not on Inception-v3</b>: they "
            "compare runs that share the extractor and cannot be set against the published rows."
        )
    return note


def _curve(evaluations: list[dict[str, Any]]) -> str:
    """Scores over training, a line for each protocol."""
    if len(evaluations) < 2:
        return ""
    lines: list[list[dict[str, Any]]] = []
    for evaluation in evaluations:
        for line in lines:
            if not differences(line[0]["protocol"], evaluation["protocol"]):
                line.append(evaluation)
                break
        else:
            lines.append([evaluation])
    figure, axes = plt.subplots(1, 3, figsize=(10.2, 2.8))
    for line in lines:
        steps = [e["step"] for e in line]
        name = f"{line[0]['protocol']['name']}, {line[0]['weights']}"
        axes[0].errorbar(steps, *_mean_std(line, "inception_score", 1), marker="o", capsize=3, label=name)
        axes[1].plot(steps, [e["fid"] for e in line], marker="o", label=name)
        axes[2].errorbar(steps, *_mean_std(line, "r_precision", 100), marker="o", capsize=3, label=name)
    labels = ("inception score (1 to classes)", "FID (squared feature units)", "R-precision (%)")
    for axis, label in zip(axes, labels, strict=True):
        axis.set(xlabel="training step", ylabel=label)
        axis.grid(alpha=0.3)
    if len(lines) > 1:
        axes[0].legend(fontsize=7)
    note = "Mean and standard deviation over splits and folds."
    if len(lines) > 1:
        other = "; ".join(differences(lines[0][0]["protocol"], lines[1][0]["protocol"]))
        note += f" The lines are of different protocols and do not compare: {other}."
    return f"<h2>Scores over training</h2><p class='note'>{html.escape(note)}</p>{svg(figure)}"


def _mean_std(line: list[dict[str, Any]], key: str, factor: float) -> tuple[list[float], list[float]]:
    return [factor * e[key]["mean"] for e in line], [factor * e[key]["std"] for e in line]


def _extremes(run: Run, evaluation: dict[str, Any]) -> str:
    location = run.path("evaluations", f"step_{evaluation['step']:08d}-{evaluation['weights']}.png")
    if not storage.exists(location):
        return ""
    with Image.open(io.BytesIO(storage.read_bytes(location))) as image:
        pixels = np.asarray(image.convert("RGB"))
    size = pixels.shape[0] // 2
    rows = ""
    for row, name in enumerate(("best", "worst")):
        cells = ""
        for column, shown in enumerate(evaluation[name]):
            part = pixels[row * size : (row + 1) * size, column * size : (column + 1) * size]
            cells += (
                f"<td class='match'>{picture(part, shown['caption'])}<span class='note'>{shown['score']:.2f} · "
                f"{html.escape(shown['caption'])}</span></td>"
            )
        rows += f"<tr><th>{name}</th>{cells}</tr>"
    return (
        "<h2>Best and worst match</h2><p class='note'>Of all evaluated images those whose image code is nearest to "
        "their caption's sentence, and farthest from it: cosine, −1 to 1, by the run's own encoders.</p>"
        f"<div class='scroll'><table>{rows}</table></div>"
    )


def _classes(evaluation: dict[str, Any]) -> str:
    classes = evaluation["r_precision_by_class"]
    if not classes:
        return ""
    shares = sorted(100 * row["r_precision"] for row in classes)
    figure, axis = plt.subplots(figsize=(7.5, 2.6))
    axis.bar(range(1, len(shares) + 1), shares, width=0.9)
    axis.set(xlabel="class, by rank", ylabel="R-precision (%)", ylim=(0, 100))
    axis.grid(alpha=0.3, axis="y")
    chosen = classes if len(classes) <= 2 * _CLASSES_SHOWN else [*classes[:_CLASSES_SHOWN], *classes[-_CLASSES_SHOWN:]]
    rows = "".join(
        f"<tr><td>{html.escape(row['class'])}</td><td>{percent(row['r_precision'])}</td><td>{row['images']}</td></tr>"
        for row in chosen
    )
    more = f" The {_CLASSES_SHOWN} worst and best of {len(classes)}." if len(chosen) < len(classes) else ""
    return (
        f"<h2>R-precision by class</h2><p class='note'>All are in evaluation.json.{more}</p>{svg(figure)}"
        f"<div class='scroll'><table><tr><th>class</th><th>R-precision</th><th>images</th></tr>{rows}</table></div>"
    )
