"""Mistakes on the command line: one line that names them, exit code 2, nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.driver import stages as job
from datasets.manifest import Manifest, load_manifest
from datasets.storage.lease import leased
from datasets.vocabulary import Vocabulary
from dmgan.architectures import build_generator
from dmgan.config import ConfigError, load_config
from dmgan.launch import main
from dmgan.model.build import build_encoders
from dmgan.runs.folder import LEASE
from dmgan.runs.run import Run

ROOT = Path(__file__).parents[3]

NO_S3 = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "s3cret"}


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("dmgan: "), lines
    return lines[0].removeprefix("dmgan: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nowhere"], "--config nowhere: neither a preset"),
        (["--set", "train.batchsize=3"], "train.batchsize: unknown key; did you mean train.batch_size?"),
        (["--set", "train.max_steps=soon"], "train.max_steps='soon': input should be a valid integer"),
        (["--workers", "0"], "train.workers=0: input should be greater than 0"),
        (
            ["--config", "cub", "--set", "data.url=anywhere"],
            "pretrain.inception_weights: not set; expected the path of torchvision's ImageNet",
        ),
        (
            ["--config", "cub", "--set", "model.image_encoder=compact", "--set", "evaluate.enabled=false"],
            "data.url: not set; expected a packed dataset",
        ),
        (["--set", "data.url=gs://bucket/x"], "gs://bucket/x"),
        (["evaluate"], "--name quickstart: no such run in"),
        (["train", "--steps", "all"], "--steps: goes with `evaluate`, not with `train`"),
        (["train", "--seed", "3"], "--seed: goes with `generate` and `figures`, not with `train`"),
        (["--count", "9"], "--count: goes with `generate` and `figures`, not with `train`"),
        (["--storage", "x", "evaluate"], "evaluate: unexpected; the command comes first"),
        (["report", "--nonsense"], "--nonsense: unknown flag of `report`"),
        (["tune", "--trials", "many"], "argument --trials: invalid int value: 'many'"),
        (["evaluate", "--beside", "other"], "--beside: goes with `report`, not with `evaluate`"),
        (
            ["--config", "cub", "--set", "model.image_encoder=compact", "--set", "data.url=anywhere"],
            "evaluate.features_weights: not set; expected the path of torch-fidelity's Inception weights",
        ),
        (["generate", "--caption", "a red bird"], "it has none; `python -m dmgan.launch train` makes one"),
        (["--storage", "ftp://host/x"], "unknown scheme 'ftp'"),
        (["--storage", "s3:/x"], "expected s3://bucket/path with two slashes"),
        (["--name", ".."], "--name '..': expected a name"),
        (["--name", "."], "--name '.': expected a name"),
        (["--name", "a/../../b"], "--name 'a/../../b': expected a name"),
        (["--name", ""], "--name '': expected a name"),
        (["--config", "cub", "--config", "coco"], "--config coco: is given twice"),
        (["--name", "a", "--name", "b"], "--name b: is given twice"),
        (["--set", "train.max_steps="], "--set train.max_steps=: no value"),
        (["--set", "data.url=/nowhere"], "/nowhere/manifest.json: not found; pack the dataset first"),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = [] if "--storage" in arguments else ["--storage", str(tmp_path / "runs")]
    assert message in refused([*arguments, *where], capsys)


def test_an_unreachable_bucket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in NO_S3.items():
        monkeypatch.setenv(key, value)
    line = refused(["--storage", str(tmp_path)], capsys)
    assert line.startswith("s3://dmgan/drawn-birds/manifest.json: cannot be reached at http://127.0.0.1:9")
    assert "s3cret" not in line


def test_a_missing_dataset_and_a_missing_shard(
    packed: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--storage", str(tmp_path / "runs"), "--set", "data.draw_birds=false", "--set"]
    empty = str(tmp_path / "empty")
    assert "manifest.json: not found; pack the dataset first" in refused([*arguments, f"data.url={empty}"], capsys)
    assert not (tmp_path / "runs" / "quickstart" / "run.yaml").exists()  # a mistake does not pin the run
    shutil.copytree(packed[0], tmp_path / "copy")
    (tmp_path / "copy" / "train-000001.tar").unlink()
    line = refused([*arguments, f"data.url={tmp_path / 'copy'}"], capsys)
    assert "train-000001.tar: not found" in line


def test_a_dataset_of_another_resolution_or_too_small(
    packed: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--storage", str(tmp_path), "--set", f"data.url={packed[0]}"]
    line = refused([*arguments, "--set", "model.base_size=32"], capsys)
    assert "give 128 pixels, but" in line and "was packed for 64" in line


@pytest.fixture
def begun(packed: tuple[str, Manifest], tmp_path: Path) -> tuple[Run, list[str]]:
    """A run whose encoders are trained."""
    config = load_config(None, [f"data.url={packed[0]}"])
    run = Run(str(tmp_path / "quickstart"))
    vocabulary = load_manifest(packed[0])[1]
    run.save_encoders(build_encoders(config.model, len(vocabulary)), vocabulary)
    run.write_config(config)
    return run, ["--storage", str(tmp_path)]


def test_a_run_is_not_resumed_with_another_configuration(
    begun: tuple[Run, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused([*begun[1], "--set", "model.memory=m"], capsys)
    assert line.startswith("model.memory: run quickstart was started with m_wg_rg, not m;")
    line = refused([*begun[1], "--set", "data.max_words=5"], capsys)
    assert line.startswith("data.max_words: run quickstart was started with 18, not 5;")
    line = refused([*begun[1], "--set", "text.tokenizer=bpe"], capsys)
    assert line.startswith("text.tokenizer: run quickstart was started with words, not bpe;")
    line = refused(["generate", *begun[1], "--caption", "a", "--set", "text.tokenizer=bpe"], capsys)
    assert line.endswith("holds a tokenizer of 'words', but text.tokenizer=bpe")


@pytest.mark.parametrize("name", ["run.yaml", "encoders.safetensors", "vocabulary.json", "generator.json"])
@pytest.mark.parametrize("content", [b"", b"{ not", b"\xff\xfe\x00"])
def test_a_damaged_file_of_a_run_is_named(
    name: str, content: bytes, begun: tuple[Run, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, arguments = begun
    run.save_generator(build_generator(run.read_config().model), run.read_config(), 3, 3)
    Path(run.path(name)).write_bytes(content)
    line = refused(["generate", *arguments, "--caption", "a red bird"], capsys)
    assert line.startswith(f"{run.path(name)}: damaged or not of this model")


def test_encoders_that_know_no_word_of_a_caption_do_not_train(
    begun: tuple[Run, list[str]], packed: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = begun
    words = [f"other-{i}" for i in range(44)]
    Path(run.path("vocabulary.json")).write_text(Vocabulary(tuple(words)).to_json())
    with pytest.raises(ConfigError, match=r"vocabulary.json: the tokenizer knows no word of '.*', a caption of"):
        job.training_stages(run.read_config(), run)


def test_an_imported_generator_is_not_trained_over(begun: tuple[Run, list[str]]) -> None:
    run, _ = begun
    run.save_generator(build_generator(run.read_config().model), run.read_config(), 0, 0)
    with pytest.raises(ConfigError, match="holds an imported generator"):
        job.training_stages(run.read_config(), run)


def test_too_few_captions_for_r_precision_are_named_before_training(
    packed: tuple[str, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"data.url={packed[0]}", "evaluate.distractors=500", "train.batch_size=4", "pretrain.batch_size=4"]
    sets = [part for assignment in given for part in ("--set", assignment)]
    line = refused(["--storage", str(tmp_path), *sets], capsys)
    assert line.startswith("evaluate.distractors=500: ") and "only 250 test captions" in line
    small = [part for assignment in (*given[:1], "train.batch_size=30") for part in ("--set", assignment)]
    line = refused(["--storage", str(tmp_path), *small], capsys)
    assert line.startswith("pretrain.batch_size=24: 2 workers need 48 training images a step")


def test_a_run_that_another_process_works_on(begun: tuple[Run, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    with leased(begun[0].path(LEASE), 30.0, lambda: None):
        line = refused(begun[1], capsys)
    assert f"process {os.getpid()}, since " in line
    assert line.endswith("is at work on this run; wait for it or choose --name")


@pytest.mark.parametrize("command", ["train", "pretrain", "evaluate", "generate"])
def test_a_sweep_is_no_run(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    files = {name: sweep / name for name in ("run.yaml", "sweep.json", "report.html", "best.yaml")}
    for name, path in files.items():
        path.write_text(load_config().to_yaml() if name.endswith("yaml") else "{}")
    before = {path: path.read_bytes() for path in files.values()}
    line = refused([command, "--storage", str(tmp_path), "--name", "sweep"], capsys)
    assert line.startswith(f"{sweep}: holds a sweep; expected another --name")
    assert {path: path.read_bytes() for path in sweep.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "generate: no captions; give --caption TEXT or --captions FILE"),
        (["--captions", "nowhere.txt"], "--captions nowhere.txt: not found"),
        (["--captions", "captions"], "not UTF-8 at byte"),
    ],
)
def test_captions_that_are_no_text(
    arguments: list[str],
    message: str,
    begun: tuple[Run, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("captions").write_bytes(b"\xff\xfe\xfa")
    assert message in refused(["generate", *begun[1], *arguments], capsys)


def test_a_run_that_is_not_trained_is_not_evaluated(
    begun: tuple[Run, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(["evaluate", *begun[1]], capsys)
    assert line.endswith("generator.json: not found; run `python -m dmgan.launch train` first")


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("pretrain", "evaluate", "generate", "report", "--storage", "quickstart"))
    assert "dance: unknown command; expected one of train, pretrain" in refused(["dance"], capsys)


def test_help_of_a_command_shows_what_applies_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--steps" in text and "--set" in text and "--caption" not in text and "--search" not in text


def test_the_driver_needs_neither_deepspeed_nor_ray_to_import_the_paper() -> None:
    for modules, without in (
        ("dmgan, dmgan.launch, dmgan.training.gan, dmgan.evaluation.evaluator", "{'ray', 'deepspeed'}"),
        ("cluster.driver.stages", "{'deepspeed', 'ray.train', 'ray.train.torch'}"),
    ):
        code = f"import sys, {modules}; print({without} & set(sys.modules))"
        found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "train.batchsize=3"], "train.batchsize: unknown key"),
        (["tune", "--set", "train.max_steps=soon"], "train.max_steps='soon'"),
        (["generate", "--name", "nowhere"], "--name nowhere: no such run"),
        (["pretrain", "--set", "model.base_size=17"], "model.base_size=17"),
        (["evaluate", "--name", ".."], "--name '..'"),
        (["evaluate"], "--name quickstart: no such run in"),
        (["runs"], "no runs in"),
        (["dance"], "dance: unknown command"),
        (["config", "show"], "data:"),
        (["config", "schema"], "$schema"),
        (["--version"], "dmgan "),
    ],
)
def test_a_mistake_is_found_before_anything_heavy_is_imported(arguments: list[str], said: str, tmp_path: Path) -> None:
    where = (
        ["--storage", str(tmp_path)]
        if arguments[0] in ("--set", "tune", "generate", "evaluate", "runs", "pretrain")
        else []
    )
    code = (
        "import sys, atexit; from dmgan.launch import main\n"
        "heavy = ('torch', 'ray', 's3fs', 'deepspeed', 'pandas', 'optuna', 'plotly', 'jinja2')\n"
        "atexit.register(lambda: print('heavy:', [name for name in heavy if name in sys.modules]))\n"
        f"sys.exit(main({[*arguments, *where]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said in done.stdout + done.stderr and "heavy: []" in done.stdout, done


@pytest.mark.parametrize("missing", ["torch", "deepspeed"])
def test_a_node_without_our_dependencies_says_which(missing: str, packed: tuple[str, Manifest], tmp_path: Path) -> None:
    arguments = ["--storage", str(tmp_path), "--set", f"data.url={packed[0]}"]
    code = f"import sys; sys.modules[{missing!r}] = None; from dmgan.launch import main; sys.exit(main({arguments!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith(f"dmgan: {missing}: not installed for {sys.executable}; ")
    assert "k8s/Dockerfile" in line
