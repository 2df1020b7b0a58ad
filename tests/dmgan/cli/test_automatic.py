"""--config auto: what it chooses, what it says, and that a run keeps what was chosen for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.manifest import Manifest
from dmgan.cli.automatic import Choice, Dataset, Hardware, choose, fit_memory
from dmgan.config import ConfigError, SourcedConfig, load_chosen, load_config, load_sourced
from dmgan.launch import main
from dmgan.runs.run import Run

GPU, CPU = Hardware("GPU", 1, 80e9), Hardware("CPU", 2, 8e9)


def chosen(dataset: Dataset, machine: Hardware, *overrides: str) -> tuple[Choice, SourcedConfig]:
    given = load_sourced("small", overrides)
    asked = {key for key, source in given.sources.items() if source == "--set"}
    choice = choose(dataset, machine, given.config, asked)
    return choice, load_chosen(choice.preset, choice.reason, choice.values, overrides, {})


def own(pixels: int = 64, images: int = 900, name: str = "holidays", sided: float = 0.0) -> Dataset:
    return Dataset("there", name, pixels, images, sided)


@pytest.mark.parametrize("pixels", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("machine", [GPU, CPU, Hardware("GPU", 8, 16e9), Hardware("CPU", 64, 256e9)])
@pytest.mark.parametrize("images", [4, 11, 900, 1_000_000])
def test_every_choice_fits_the_dataset_and_the_machine(pixels: int, machine: Hardware, images: int) -> None:
    config = chosen(own(pixels, images), machine)[1].config
    workers = config.train.workers
    assert config.model.image_sizes[-1] == pixels and 1 <= workers <= machine.devices
    for batch in (config.train.batch_size, config.pretrain.batch_size):
        assert batch >= 2 and batch * workers <= images
    assert machine.kind == "GPU" or workers * config.train.threads <= machine.devices


def test_processors_train_for_a_first_result_and_gpus_longer() -> None:
    few, many = chosen(own(), CPU)[1].config, chosen(own(), GPU)[1].config
    assert few.train.max_steps is not None and many.train.max_steps is not None
    assert few.train.max_steps < many.train.max_steps and few.train.workers == 2 and many.train.workers == 1
    assert few.train.batch_statistics == "local" and many.train.batch_statistics == "global"
    asked = chosen(own(), CPU, "train.max_steps=7")
    assert asked[1].config.train.max_steps == 7 and not any(
        note.startswith("train.max_steps") for note in asked[1].notes
    )


def test_the_papers_networks_want_a_gpu_large_images_and_weights() -> None:
    weights = "pretrain.inception_weights=inception.pth"
    assert chosen(own(256), GPU)[0].preset == chosen(own(128), GPU, weights)[0].preset == "small"
    assert chosen(own(256), CPU, weights)[0].preset == "small"
    choice, found = chosen(own(256), GPU, weights)
    assert choice.preset == "cub" and found.config.evaluate.features == "damsm"
    assert any("evaluate.features=damsm: evaluate.features_weights is not set" in note for note in found.notes)
    choice, found = chosen(own(256, 82_783), GPU, weights, "evaluate.features_weights=fid.pth")
    assert choice.preset == "coco" and found.config.evaluate.features == "inception-v3"


def test_the_batch_is_halved_until_it_fits_the_memory() -> None:
    choice = chosen(own(128), GPU)[0]
    before = choice.values["train.batch_size"]
    fit_memory(choice, GPU, load_config("small"), set())
    assert choice.values["train.batch_size"] == before == (32, "32 images a step")
    fit_memory(choice, Hardware("GPU", 1, 0.4e9), load_config("small"), {"train.batch_size"})
    assert choice.values["train.batch_size"] == before  # asked for: a dry run says that it does not fit
    fit_memory(choice, Hardware("GPU", 1, 0.4e9), load_config("small"), set())
    assert choice.values["train.batch_size"] == (8, "0.4 GB of memory")


def test_drawn_worlds_have_presets_of_their_own() -> None:
    assert chosen(own(images=1800, name="drawn birds"), CPU)[0].preset == "quickstart"
    choice, found = chosen(own(images=16_000, name="drawn scenes", sided=0.9), CPU, "data.url=there")
    assert choice.preset == "scenes" and not found.config.data.mirror and not found.config.data.draw_birds
    assert not found.config.data.local_s3
    assert chosen(own(128, 15_000, "drawn birds 2"), CPU)[0].preset == "small"
    assert chosen(own(64, 40, "drawn birds"), CPU)[0].preset == "small"


def test_captions_that_say_left_or_right_are_not_mirrored() -> None:
    assert chosen(own(sided=0.001), GPU)[1].config.data.mirror
    assert not chosen(own(sided=0.3), GPU)[1].config.data.mirror
    assert chosen(own(sided=0.3), GPU, "data.mirror=true")[1].config.data.mirror


def test_sizes_that_nothing_fits_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"there was packed for 100 pixels; expected one of 16, 32, 64"):
        chosen(own(100), GPU)
    with pytest.raises(ConfigError, match="has 1 training images for 1 workers; expected 2 or more"):
        chosen(own(images=1), CPU)
    with pytest.raises(ConfigError, match="has 5 training images for 4 workers"):
        chosen(own(images=5), GPU, "train.workers=4")


@pytest.mark.parametrize(
    ("settings", "environment", "message"),
    [
        ([], {}, "data.url: not set; --config auto looks at the packed dataset: expected --set data.url="),
        (["data.url=/no/where"], {}, "/no/where/manifest.json: not found; pack the dataset first"),
        (["data.url=s3://a/b", "data.local_s3=true"], {}, "data.local_s3=true: --config auto reads the dataset before"),
        (["data.url=URL"], {"RAY_ADDRESS": "10.0.0.1:6379"}, "expected --workers N and --set train.accelerator=gpu"),
    ],
)
def test_what_it_cannot_choose_by_is_one_line(
    settings: list[str],
    environment: dict[str, str],
    message: str,
    packed: tuple[str, Manifest],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    sets = [part for text in settings for part in ("--set", text.replace("URL", packed[0]))]
    assert main(["--config", "auto", "--storage", str(tmp_path), *sets]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not list(tmp_path.iterdir())


def test_it_is_no_preset_of_files_or_of_python() -> None:
    with pytest.raises(ConfigError, match=r"--config auto: is for commands of dmgan.launch alone"):
        load_config("auto")


def test_a_run_keeps_what_was_chosen_for_it(
    packed: tuple[str, Manifest],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["--config", "auto", "--name", "mine", "--storage", str(tmp_path), "--dry-run"]
    at = ["--set", f"data.url={packed[0]}"]
    assert main([*command, *at]) == 0
    said = capsys.readouterr().out
    assert "auto      preset small: 40 training images of 64 pixels, " in said
    _, found = chosen(own(images=40), CPU, f"data.url={packed[0]}")
    Run(str(tmp_path / "mine")).write_config(found.config)
    monkeypatch.setattr("dmgan.cli.automatic.choose", lambda *_: pytest.fail("is chosen again"))
    assert main([*command, *at, "--set", "train.accelerator=cpu"]) == 0
    said = capsys.readouterr().out
    assert f"run mine is there and keeps its keys: {tmp_path / 'mine' / 'run.yaml'}" in said
    assert f"{found.config.train.batch_size * found.config.train.workers} images a step" in said
    assert main([*command, "--set", "data.url=/elsewhere"]) == 2
    assert f"data.url=/elsewhere: run mine was begun with {packed[0]}" in capsys.readouterr().err
