"""report.html: one self-contained page with what a run did and how good it is."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from datasets import storage
from datasets.sources.birds import COLOURS
from dmgan.config import Config
from dmgan.model.generator import GeneratorOutput
from dmgan.pixels import to_array
from dmgan.report.figures import percent, picture, svg
from dmgan.report.scores import read_evaluation, score_sections
from dmgan.runs.run import Run
from dmgan.runs.samples import FixedSamples
from dmgan.runs.words import Word, top_words

__all__ = ["write_report"]

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1000px; padding: 1rem; color: #1c2430; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #d5dbe3; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.card { background: #f3f6fa; border-radius: 8px; padding: .6rem 1rem; min-width: 8rem; }
.card b { display: block; font-size: 1.5rem; } .card span, .note { color: #57606c; font-size: .88rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; } caption { text-align: left; color: #57606c; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid #e3e8ee; vertical-align: top; }
td img { image-rendering: pixelated; width: 128px; height: 128px; display: block; } td.text { min-width: 11rem; }
td.match { min-width: 128px; max-width: 150px; } td.map { padding: .35rem .2rem; }
td.map img { width: 92px; height: 92px; }
.measured { background: #fff8e1; }
.words { white-space: nowrap; margin: 0; padding: 0; list-style: none; font-size: .85rem; }
.bar { display: inline-block; height: .6em; background: #3d6fb6; border-radius: 2px; margin-right: .4em; }
svg { max-width: 100%; height: auto; }
pre { background: #f3f6fa; padding: .8rem; overflow-x: auto; font-size: .8rem; }
"""


def write_report(config: Config, run: Run, samples: FixedSamples, beside: Sequence[Run] = ()) -> str:
    """Write RUN/report.html from the run's files and its generator, its scores with those of `beside`; where it is."""
    evaluation = read_evaluation(run, "evaluation.json") if run.has("evaluation.json") else None
    output = samples.output(run.load_generator())
    sections = [
        _headline(config, run, evaluation),
        _sample_table(samples, output),
        _word_table(samples, output) if output.attention else "",
        score_sections(run, beside),
        _curves(run.read_metrics()),
        f"<h2>Configuration</h2><pre>{html.escape(config.to_yaml())}</pre>",
    ]
    title = html.escape(f"DM-GAN run {run.name}")
    page = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>"
    )
    storage.write_bytes(run.path("report.html"), page.encode())
    return run.path("report.html")


def _headline(config: Config, run: Run, evaluation: dict[str, Any] | None) -> str:
    model = config.model
    sizes = " → ".join(str(size) for size in model.image_sizes)
    cards = [(str(run.trained_steps()), "steps trained")]
    if evaluation:
        cards = [
            (
                percent(evaluation["r_precision"]["mean"]),
                f"R-precision (chance {percent(1 / (evaluation['protocol']['r_precision']['distractors'] + 1))})",
            ),
            (f"{evaluation['fid']:.2f}", f"FID on {evaluation['features']} features"),
            (f"{evaluation['inception_score']['mean']:.2f}", f"IS on {evaluation['features']} features"),
            *cards,
        ]
        if evaluation["step"] != run.trained_steps():
            cards.insert(0, (str(evaluation["step"]), "steps of the generator that the scores are of"))
        if "colour_accuracy" in evaluation:
            cards.insert(
                1,
                (
                    percent(evaluation["colour_accuracy"]),
                    f"body colour as captioned (chance {percent(1 / len(COLOURS))})",
                ),
            )
    boxes = "".join(
        f"<div class='card'><b>{value}</b><span>{html.escape(label)}</span></div>" for value, label in cards
    )
    return (
        f"<h1>{html.escape(run.name)}</h1><div class='note'>DM-GAN · {html.escape(config.data.url)} · {sizes} pixels · "
        f"memory {model.memory} · {config.train.workers} workers, ZeRO {config.deepspeed.zero_stage}</div>"
        f"<div class='cards'>{boxes}</div>"
    )


def _sample_table(samples: FixedSamples, output: GeneratorOutput) -> str:
    stages = [to_array(images) for images in output.images]
    head = "".join(f"<th>stage {i}: {pixels.shape[1]} px</th>" for i, pixels in enumerate(stages))
    rows = "".join(
        f"<tr><td class='text'>{html.escape(caption)}</td>"
        + "".join(f"<td>{picture(pixels[row], caption)}</td>" for pixels in stages)
        + "</tr>"
        for row, caption in enumerate(samples.captions)
    )
    return (
        "<h2>Samples</h2><p class='note'>Captions of test classes, never seen in training; every stage of the averaged "
        f"generator.</p><div class='scroll'><table><tr><th>caption</th>{head}</tr>{rows}</table></div>"
    )


def _word_table(samples: FixedSamples, output: GeneratorOutput) -> str:
    rows = ""
    for row in range(min(4, len(samples.captions))):
        words = samples.words(row)
        for i, stage in enumerate(top_words(output, row, words)):
            image = to_array(output.images[i + 1][row : row + 1])[0]
            peak = [position for position, _, _ in stage["read"]]
            maps = "".join(
                f"<td class='map'>{picture(_heat(image, output.attention[i][row, t].cpu().numpy()), words[t])}"
                f"<span class='note'>{html.escape(words[t])}</span></td>"
                for t in peak
            )
            columns = "".join(f"<td>{_word_list(stage[kind])}</td>" for kind in ("written", "read") if kind in stage)
            rows += (
                f"<tr><td class='text'>{html.escape(samples.captions[row])}<br><span class='note'>refinement {i + 1}"
            )
            rows += f"</span></td>{columns}{maps}</tr>"
    written = "<th>written (gate)</th>" if output.writing_gates else ""
    return (
        "<h2>What the memory wrote and read</h2><p class='note'>The five words with the widest writing gate (Eq. 7, "
        "0 to 1) and those the pixels read most (Eq. 4, mean weight); as in the paper's Fig. 6."
        f"</p><div class='scroll'><table><tr><th>caption</th>{written}<th>read (weight)</th>"
        f"<th colspan='5'>where the most read words went</th></tr>{rows}</table></div>"
    )


def _word_list(words: list[Word]) -> str:
    items = "".join(
        f"<li><span class='bar' style='width:{60 * value:.0f}px'></span>{html.escape(word)} {value:.2f}</li>"
        for _, word, value in words
    )
    return f"<ul class='words'>{items}</ul>"


def _curves(metrics: list[dict[str, Any]]) -> str:
    parts = ["<h2>Training</h2>"]
    for stage, title in (("train", "GAN"), ("pretrain", "DAMSM pre-training of the encoders")):
        lines = [line for line in metrics if line["stage"] == stage]
        if lines:
            rate = sum(line["images_per_second"] for line in lines) / len(lines)
            parts.append(
                f"<h3>{title}</h3><p class='note'>{rate:.1f} images/s on average</p>{_warned(lines)}{_plot(lines)}"
            )
    return "".join(parts)


def _warned(lines: list[dict[str, Any]]) -> str:
    """What training warned of, each thing once with the steps of its first and last line."""
    seen: dict[str, list[int]] = {}
    for line in lines:
        for text in line.get("warnings", ()):
            seen.setdefault(text.partition(":")[0], []).append(line["step"])
        if "skipped" in line:
            seen.setdefault("samples could not be read and were replaced", []).append(line["step"])
    items = [f"<li>{html.escape(text)} (steps {steps[0]} to {steps[-1]})</li>" for text, steps in seen.items()]
    return f"<p>Warnings:</p><ul>{''.join(items)}</ul>" if items else ""


def _plot(lines: list[dict[str, Any]]) -> str:
    steps = [line["step"] for line in lines]
    groups: dict[str, list[str]] = {}
    for name in lines[0]["losses"]:
        groups.setdefault(name.rsplit("_", 1)[0] if name[-1].isdigit() else name, []).append(name)
    figure, axes = plt.subplots(1, len(groups), figsize=(3.4 * len(groups), 2.8), squeeze=False)
    for axis, (group, names) in zip(axes[0], groups.items(), strict=True):
        for name in names:
            axis.plot(steps, [line["losses"][name] for line in lines], label=name, linewidth=1)
        axis.set(title=group, xlabel="step", ylabel="loss (nats)")
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend(fontsize=7)
    return svg(figure)


def _heat(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The image (H, W, 3), bright where the attention (h, w) is high."""
    scaled = Image.fromarray((255 * weights / max(weights.max(), 1e-8)).astype(np.uint8)).resize(image.shape[1::-1])
    share = np.asarray(scaled, np.float32)[..., None] / 255
    return (image * (0.25 + 0.75 * share)).astype(np.uint8)
