"""A run's report as a whole: what stands on the page, and what it does without."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets import storage
from dmgan.architectures import build_generator
from dmgan.config import Config, load_config
from dmgan.launch import main
from dmgan.report.curves import smoothed, training_sections
from dmgan.report.numbers import duration
from dmgan.report.page import write_report
from dmgan.report.pictures import timeline
from dmgan.runs.machine import record_machine, this_machine
from dmgan.runs.metrics import MetricsLine
from dmgan.runs.run import Run
from dmgan.runs.samples import caption_grid, samples_of
from tests.evaluations import evaluated


def line(step: int, stage: str = "train") -> MetricsLine:
    losses = {f"{name}_{i}": 1.0 + i + step / 100 for name in ("discriminator", "generator") for i in range(3)}
    return MetricsLine(
        stage=stage,
        step=step,
        epoch=step / 10,
        images=8 * step,
        images_per_second=4.0,
        losses={**losses, "words": 2.0} if stage == "train" else {"words": 3.0, "sentence": 2.0},
        statistics={"accuracy_0": 0.8, "accuracy_1": 0.7, "diversity": 0.9} if stage == "train" else {},
        learning_rates={"generator": 0.0002, "discriminators": 0.0001} if stage == "train" else {"encoders": 0.001},
        warnings=["the generator has collapsed: its images differ 5 %"] if step == 20 else [],
    )


def write_metrics(run: Run, steps: int) -> None:
    lines = [line(step, stage) for stage in ("pretrain", "train") for step in range(1, steps + 1)]
    text = "".join(each.model_dump_json() + "\n" for each in lines)
    storage.write_bytes(run.path("metrics.jsonl"), text.encode())


@pytest.fixture(scope="module")
def trained(untrained: tuple[Run, list[str]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Config]:
    """With metrics of 40 steps, two sample pictures, its machine and an evaluation that guesses."""
    run = Run(str(tmp_path_factory.mktemp("storage") / "mine"))
    shutil.copytree(untrained[0].url, run.url)
    config = load_config(None, [*untrained[1], "train.batch_size=4", "train.workers=2"])
    run.write_config(config)
    write_metrics(run, 40)
    png = samples_of(config, run, run.load_encoders(config)).png(run.load_generator())
    for step in (20, 40):
        storage.write_bytes(run.path("samples", f"step_{step:08d}.png"), png)
    record_machine(run, "train", this_machine(torch.device("cpu"), 2))
    evaluated(run, 0)
    return run, config


@pytest.fixture(scope="module")
def page(trained: tuple[Run, Config]) -> str:
    return Path(write_report(trained[1], trained[0])).read_text()


def section(page: str, name: str) -> str:
    found = re.search(rf'<h2 id="{name}">.*?(?=<h2 |</main>)', page, re.DOTALL)
    assert found is not None, name
    return found.group()


def test_every_caption_has_its_real_image_and_other_noises(page: str) -> None:
    samples = section(page, "samples")
    cards = re.findall(r"<article>.*?</article>", samples, re.DOTALL)
    assert len(cards) == 6
    for card in cards:
        captions = re.findall(r"<figcaption>(.*?)</figcaption>", card)
        assert captions == ["generated", "real", "16 px", "32 px", *(f"noise {i}" for i in range(2, 6))]
        pictures = re.findall(r'src="(data:image/[^"]+)"', card)
        assert len(set(pictures)) == len(pictures) == 8
    assert "There are no real images" not in page


def test_samples_over_time_are_moved_by_a_slider(page: str) -> None:
    over_time = section(page, "samples-over-time")
    assert '<input type="range" min="0" max="1" value="1" aria-label="training step"' in over_time
    assert 'data-steps="20 40"' in over_time and over_time.count('<div class="frame">') == 6
    assert over_time.count("<span hidden>") == 6 and over_time.count("<span><img") == 6  # without scripts: the last


def test_the_first_and_the_last_of_many_pictures_are_among_those_shown(tmp_path: Path) -> None:
    run = Run(str(tmp_path))
    for step in range(10, 1010, 10):
        grid = caption_grid(["one", "two"], [[np.full((256, 256, 3), step % 256, np.uint8)]] * 2)
        storage.write_bytes(run.path("samples", f"step_{step:08d}.png"), grid)
    found, note = timeline(run, 256)
    assert found is not None and note is None
    assert len(found.steps) == 24 and (found.steps[0], found.steps[-1], found.of) == (10, 1000, 100)
    assert sum(len(image) for _, images in found.rows for image in images) < 100_000
    storage.write_bytes(run.path("samples", "step_00000010.png"), b"damaged")
    storage.write_bytes(
        run.path("samples", "step_00001000.png"), caption_grid(["other"], [[np.zeros((8, 8, 3), np.uint8)]])
    )
    found, note = timeline(run, 256)
    assert found is not None and found.steps == [1000]
    assert note is not None and note.startswith("1 pictures could not be used, the first: samples/step_00000010.png: ")
    assert "22 pictures are of other captions and are left out" in note


def test_curves_share_a_legend_and_stand_over_what_was_logged(page: str, trained: tuple[Run, Config]) -> None:
    gan = section(page, "training-gan")
    assert gan.count('<ul class="legend">') == 1 and "stage 2, 64 pixels" in gan and "not of one stage" in gan
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", gan)
    assert [caption.partition(":")[0] for caption in captions] == [
        "Discriminators&#39; losses",
        "Generator&#39;s adversarial losses",
        "DAMSM loss of words",
        "Discriminators&#39; accuracy",
        "Diversity",
        "Images/s",
        "Learning rate of the generator",
        "Learning rate of the discriminators",
    ]
    assert gan.count('"opacity":0.3') == 3 + 3 + 1 + 2 + 1 + 1  # raw curves; learning rates are not smoothed
    assert "means of 3 neighbouring lines" in gan and "the generator has collapsed (steps 20 to 20)" in gan
    assert "Learning rate of the encoders" in section(page, "training-damsm-pre-training-of-the-encoders")
    few = training_sections([("few", [line(step) for step in (1, 2)])], [16, 32, 64])
    assert len(few) == 1 and few[0]["window"] == 1 and few[0]["plots"]


def test_smoothing_keeps_constants_and_means() -> None:
    assert smoothed(np.full(7, 2.0), 3) == pytest.approx(np.full(7, 2.0))
    assert smoothed(np.array([0.0, 3.0, 6.0, 0.0]), 3) == pytest.approx([1.5, 3.0, 3.0, 3.0])
    assert smoothed(np.array([5.0]), 3) == pytest.approx([5.0])


def test_what_the_run_took_is_in_one_table(page: str) -> None:
    took = section(page, "what-it-took")
    facts = dict(re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>', took))
    assert facts["GAN trained"] == "40 steps, 320 images, 4 epochs in 1 min 20 s, 4.0 images/s"
    assert facts["Training on"] == "2 workers, 4 images a step each, DeepSpeed ZeRO 1, float32"
    assert re.search(r"; \d+ cores, \d+ GiB of memory$", facts["Machine"])
    assert re.search(r"^dmgan \S+(, commit \S+)?; torch \d", facts["Code"])
    assert re.search(r"^generator [\d,]+.*, discriminators .+, text encoder .+, image encoder .+", facts["Parameters"])
    assert facts["Evaluated"] == "1,000 images in 2 s"


def test_durations_are_read_at_once() -> None:
    shown = [duration(seconds) for seconds in (0.4, 48, 485, 12000, 187200)]
    assert shown == ["0 s", "48 s", "8 min 05 s", "3 h 20 min", "2 d 04 h"]


def test_words_that_show_nothing_are_grey_and_maps_have_a_scale(page: str) -> None:
    memory = section(page, "what-the-memory-wrote-and-read")
    words = re.findall(r"<li( class=\"function\")?><span>(.*?)</span>", memory)
    grey = {word for marked, word in words if marked}
    assert grey <= {"the", "this", "a", "and", "it", "has", "is", "with", "that", "very", "its", "of"}
    assert {word for marked, word in words if not marked} - grey
    assert memory.count('class="scale"') == 4 * 2 and "weight in a pixel" in memory


def test_a_generator_that_guesses_is_warned_of(page: str) -> None:
    assert '<p class="warning">R-precision of 0.0 % is no better than chance: guessing gets 1.0 %' in page


def test_the_page_is_whole_and_of_a_bounded_size(page: str) -> None:
    body = page.rpartition("<body>")[2]
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", body) and len(page) < 6_000_000
    ids = set(re.findall(r'<h2 id="(.*?)">', page))
    assert set(re.findall(r'<a href="#(.*?)">', page)) == ids and len(ids) >= 8


def test_a_dataset_that_is_gone_is_a_line(trained: tuple[Run, Config], tmp_path: Path) -> None:
    run = Run(str(tmp_path / "alone"))
    shutil.copytree(trained[0].url, run.url)
    run.write_config(load_config(trained[1], [f"data.url={tmp_path / 'gone'}", "data.draw_birds=false"]))
    assert main(["report", "--storage", str(tmp_path), "--name", "alone"]) == 0
    page = Path(run.path("report.html")).read_text()
    samples = section(page, "samples")
    assert samples.count("<article>") == 6 and "<figcaption>real</figcaption>" not in samples
    said = "The captions are those of samples/step_00000040.png, and there are no real images: "
    assert samples.count(f"{said}{tmp_path / 'gone'}/manifest.json: not found") == 1
    shutil.rmtree(run.path("samples"))
    page = Path(write_report(run.read_config(), run)).read_text()
    assert section(page, "samples").count("<article>") == 0
    assert "There are no samples, as their captions cannot be read: " in page and section(page, "training-gan")


def test_captions_of_ones_own_have_no_real_image(trained: tuple[Run, Config], tmp_path: Path) -> None:
    run = Run(str(tmp_path / "own"))
    shutil.copytree(trained[0].url, run.url)
    config = load_config(trained[1], ["samples.captions=[a red bird]"])
    page = Path(write_report(config, run)).read_text()
    assert "There are no real images beside the samples: the dataset has none of their captions." in page


def test_other_runs_add_samples_and_curves(
    trained: tuple[Run, Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine", "other", "broken"):
        shutil.copytree(trained[0].url, tmp_path / name)
    other, broken = Run(str(tmp_path / "other")), Run(str(tmp_path / "broken"))
    config = load_config(trained[1], ["train.seed=5"])
    torch.manual_seed(9)
    other.save_generator(build_generator(config.model), config, step=1234, steps=2000)
    other.write_config(config)
    Path(other.path("evaluation.json")).unlink()
    Path(broken.path("encoders.safetensors")).write_bytes(b"damaged")
    arguments = ["report", "--storage", str(tmp_path), "--name", "mine", "--beside"]
    assert main([*arguments, "other", "broken"]) == 0
    page = Path(tmp_path / "mine" / "report.html").read_text()
    beside = section(page, "samples-of-other-runs")
    assert "<th>other, step 1,234</th>" in beside and "<th>broken" not in beside
    rows = re.findall(r'<tr><td class="text">.*?</tr>', beside)
    assert len(rows) == 6 and all(len(set(re.findall(r'src="(.*?)"', row))) == 2 for row in rows)
    assert page.count("There are no samples of broken: ") == 1 and "No evaluation of other yet" in page
    gan = section(page, "training-gan")
    assert len(re.findall(r"</svg>(mine|other|broken)</li>", gan)) == 3 and '"dash":"dot"' in gan
    took = section(page, "what-it-took")
    assert "<th>mine</th><th>other</th><th>broken</th>" in took
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    Run(str(tmp_path / "empty")).write_config(config)
    for name, message in (
        ("mine", "--beside mine: is the run itself; expected another one"),
        ("empty", "empty/generator.json: not found; expected a trained run"),
        ("othr", "--beside othr: no such run in "),
    ):
        assert main([*arguments, name]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1 and message in said[0]
