"""report.html: one self-contained page with what a run did and how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets import storage
from datasets.errors import UserError
from datasets.pages.kit import percent, render
from dmgan.config import Config
from dmgan.evaluation.chance import chance_of, no_better_than_chance
from dmgan.evaluation.record import Evaluation, read_evaluation
from dmgan.evaluation.unseen import Overlap, overlap
from dmgan.report.about import about
from dmgan.report.curves import training_sections
from dmgan.report.memory import word_rows
from dmgan.report.pictures import NOISES, beside_columns, fixed_captions, real_images, sample_cards, timeline
from dmgan.report.scores import score_sections
from dmgan.runs.run import Run
from dmgan.runs.samples import FixedSamples

__all__ = ["TEMPLATES", "write_report"]

TEMPLATES = Path(__file__).parent / "templates"


def write_report(config: Config, run: Run, beside: Sequence[Run] = ()) -> str:
    """Write RUN/report.html from the run's files and its generator; where it is.

    The runs `beside` it add their samples of the same captions and noises, their curves and scores. A dataset that
    cannot be read, and samples of other runs that cannot be drawn, are a line on the page. Raises ConfigError for a run
    that is damaged or not trained, StorageError.
    """
    runs, evaluation = [run, *beside], read_evaluation(run)
    context = {
        "title": f"DM-GAN run {run.name}",
        "run": run,
        "config": config,
        "headline": _headline(run, evaluation),
        "warnings": no_better_than_chance(evaluation) if evaluation is not None else [],
        "about": about(runs),
        "names": [each.name for each in runs],
        "training": training_sections([(each.name, each.read_metrics()) for each in runs], config.model.image_sizes),
        **_pictures(config, run, beside),
        **score_sections(run, beside),
    }
    storage.write_bytes(run.path("report.html"), render("run.html", context, [TEMPLATES]))
    return run.path("report.html")


def _pictures(config: Config, run: Run, beside: Sequence[Run]) -> dict[str, object]:
    """All that is drawn or was drawn, with the lines that say what is missing."""
    captions, missing = fixed_captions(config, run)
    notes = [missing] if missing is not None else []
    steps, about_steps = timeline(run, config.model.image_sizes[-1])
    cards, words, columns = list[dict[str, object]](), [], list[dict[str, object]]()
    if captions:
        samples = FixedSamples(run.load_encoders(config), run.read_tokenizer(config), captions, config)
        generator = run.load_generator()
        output, *others = (samples.output(generator, number) for number in range(NOISES + 1))
        # What cannot be read, in a bucket after several attempts, is not tried again.
        real, without = ([None] * len(captions), None) if missing is not None else real_images(config, captions)
        cards, words = sample_cards(samples, output, others, real), word_rows(samples, output)
        columns, problems = beside_columns(beside, samples, config.train.seed)
        notes += [*([without] if without is not None else []), *problems]
    unseen = _overlap(config) if missing is None else None
    return {
        "shown": cards,
        "samples_of": _origin_of_samples(config, unseen is not None),
        "sample_notes": notes,
        "overlap": unseen,
        "others": columns,
        "timeline": steps,
        "timeline_note": about_steps,
        "words": words,
    }


def _overlap(config: Config) -> Overlap | None:
    """None, too, where the dataset cannot be read; that is said of its real images."""
    try:
        return overlap(config.data.url)
    except UserError:
        return None


def _origin_of_samples(config: Config, unseen: bool) -> str:
    if config.samples.captions is not None:
        return "Captions of samples.captions."
    return "Captions of the test split." if unseen else "Captions of the dataset."


def _headline(run: Run, evaluation: Evaluation | None) -> list[tuple[str, str]]:
    """The figures at the top and what they are."""
    steps = (f"{run.trained_steps():,}", "steps trained")
    if evaluation is None:
        return [steps]
    cards = []
    for score in evaluation.scores:
        chance, ceiling = chance_of(score, evaluation), evaluation.ceiling(score)
        on = f" on {evaluation.features} features" if score.name in ("fid", "inception_score") else ""
        known = [f"chance {percent(chance)}"] if chance is not None else []
        known += [f"real images {ceiling}"] if ceiling else []
        between = f" ({', '.join(known)})" if known else ""
        cards.append((score.shown(evaluation.values), f"{score.label}{on}{between}"))
    if evaluation.step != run.trained_steps():
        cards.insert(0, (f"{evaluation.step:,}", "steps of the generator that the scores are of"))
    return [*cards, steps]
