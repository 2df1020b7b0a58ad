"""report.html: one self-contained page with what a run did and how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup

from datasets import storage
from datasets.pages.kit import LAYOUT, figure, percent, picture, render
from dmgan.config import Config
from dmgan.evaluation.record import Evaluation, read_evaluation
from dmgan.evaluation.unseen import overlap
from dmgan.model.generator import GeneratorOutput
from dmgan.pixels import to_array
from dmgan.report.heat import heat
from dmgan.report.scores import score_sections
from dmgan.runs.metrics import MetricsLine
from dmgan.runs.run import Run
from dmgan.runs.samples import FixedSamples
from dmgan.runs.words import top_words

__all__ = ["TEMPLATES", "write_report"]

TEMPLATES = Path(__file__).parent / "templates"

_WORD_ROWS = 4  # captions whose words are shown


def write_report(config: Config, run: Run, samples: FixedSamples, beside: Sequence[Run] = ()) -> str:
    """Write RUN/report.html from the run's files and its generator, its scores with those of `beside`; where it is."""
    evaluation = read_evaluation(run)
    output = samples.output(run.load_generator())
    unseen = overlap(config.data.url)
    stages = [to_array(images) for images in output.images]
    context = {
        "title": f"DM-GAN run {run.name}",
        "run": run,
        "config": config,
        "sizes": " → ".join(str(size) for size in config.model.image_sizes),
        "headline": _headline(run, evaluation),
        "stage_sizes": [pixels.shape[1] for pixels in stages],
        "samples": [
            {"caption": caption, "images": [picture(pixels[row], caption) for pixels in stages]}
            for row, caption in enumerate(samples.captions)
        ],
        "samples_of": _origin_of_samples(config, unseen is not None),
        "overlap": unseen,
        "words": _word_rows(samples, output),
        "training": _training(run.read_metrics()),
        **score_sections(run, beside),
    }
    storage.write_bytes(run.path("report.html"), render("run.html", context, [TEMPLATES]))
    return run.path("report.html")


def _origin_of_samples(config: Config, unseen: bool) -> str:
    if config.samples.captions is not None:
        return "Captions of samples.captions."
    return "Captions of the test split." if unseen else "Captions of the dataset."


def _headline(run: Run, evaluation: Evaluation | None) -> list[tuple[str, str]]:
    """The figures at the top and what they are."""
    steps = (str(run.trained_steps()), "steps trained")
    if evaluation is None:
        return [steps]
    cards = []
    for score in evaluation.scores:
        chance = score.chance
        if score.name == "r_precision":
            chance = 1 / (evaluation.protocol["r_precision"]["distractors"] + 1)
        on = f" on {evaluation.features} features" if score.name in ("fid", "inception_score") else ""
        guessing = "" if chance is None else f" (chance {percent(chance)})"
        value = score.of(evaluation.values)
        shown = percent(value) if score.percent else f"{value:.{score.digits}f}"
        cards.append((shown, f"{score.label}{on}{guessing}"))
    if evaluation.step != run.trained_steps():
        cards.insert(0, (str(evaluation.step), "steps of the generator that the scores are of"))
    return [*cards, steps]


def _word_rows(samples: FixedSamples, output: GeneratorOutput) -> list[dict[str, object]]:
    """Of a few captions at every refinement: the words written and read most, and where the latter went."""
    rows: list[dict[str, object]] = []
    if not output.attention:
        return rows
    for row in range(min(_WORD_ROWS, len(samples.captions))):
        words = samples.words(row)
        reading = [weights[row].mean((1, 2)) for weights in output.attention]
        for i, stage in enumerate(top_words(reading, [gates[row, 0] for gates in output.writing_gates], words)):
            image = to_array(output.images[i + 1][row : row + 1])[0]
            attention = output.attention[i][row].cpu().numpy()
            rows.append(
                {
                    "caption": samples.captions[row],
                    "refinement": i + 1,
                    "written": stage.get("written"),
                    "read": stage["read"],
                    "maps": [(words[t], picture(heat(image, attention[t]), words[t])) for t, _, _ in stage["read"]],
                }
            )
    return rows


def _training(metrics: Sequence[MetricsLine]) -> list[dict[str, object]]:
    stages = []
    for name, title in (("train", "GAN"), ("pretrain", "DAMSM pre-training of the encoders")):
        lines = [line for line in metrics if line.stage == name]
        if lines:
            rate = sum(line.images_per_second for line in lines) / len(lines)
            stages.append({"title": title, "rate": rate, "warnings": _warnings(lines), "plots": _losses(lines)})
    return stages


def _warnings(lines: Sequence[MetricsLine]) -> list[tuple[str, int, int]]:
    """What training warned of, each thing once with the steps of its first and last line."""
    seen: dict[str, list[int]] = {}
    for line in lines:
        for text in line.warnings:
            seen.setdefault(text.partition(":")[0], []).append(line.step)
        if line.skipped is not None:
            seen.setdefault("samples could not be read and were replaced", []).append(line.step)
    return [(text, steps[0], steps[-1]) for text, steps in seen.items()]


def _losses(lines: Sequence[MetricsLine]) -> list[Markup]:
    """A plot for each kind of loss, with a line a discriminator or stage."""
    groups: dict[str, list[str]] = {}
    for name in lines[0].losses:
        groups.setdefault(name.rsplit("_", 1)[0] if name[-1].isdigit() else name, []).append(name)
    plots = []
    for group, names in groups.items():
        plot = go.Figure()
        for name in names:
            plot.add_scatter(x=[line.step for line in lines], y=[line.losses.get(name) for line in lines], name=name)
        plot.update_layout(
            **{**LAYOUT, "height": 280},
            title=group,
            xaxis_title="step",
            yaxis_title="loss (nats)",
            showlegend=len(names) > 1,
        )
        plots.append(figure(plot))
    return plots
