from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dmgan.config import Config, ConfigError, absolute_paths, keys_with, known_keys, load_config, presets


def test_every_preset_loads() -> None:
    assert {"quickstart", "cub", "cub-released", "coco", "coco-released"} <= set(presets())
    for name in presets():
        config = load_config(name)
        assert load_config(config) == config


def test_the_papers_presets_are_the_papers() -> None:
    cub, coco = load_config("cub"), load_config("coco")
    for config in (cub, coco):
        model = config.model
        assert model.image_sizes == [64, 128, 256] and model.memory == "m_wg_rg"
        assert (model.word_dim, model.image_dim, model.memory_dim) == (256, 64, 128)
        assert config.objective.lambda_ca == 1 and config.train.batch_size == 10
        assert config.optimizer.generator_lr == config.optimizer.discriminator_lr == 0.0002
        assert (config.optimizer.beta1, config.optimizer.beta2) == (0.5, 0.999)
        assert not config.objective.mismatched_pairs
    assert (cub.objective.lambda_damsm, coco.objective.lambda_damsm) == (5, 50)
    assert (cub.train.epochs, coco.train.epochs) == (600, 120)


def test_the_released_presets_differ_from_the_papers_where_the_release_does() -> None:
    def differences(name: str) -> dict[str, tuple[object, object]]:
        ours, theirs = load_config(name), load_config(f"{name}-released")
        return {k: (ours.value(k), theirs.value(k)) for k in known_keys() if ours.value(k) != theirs.value(k)}

    common = {
        "model.padding_mask": ("aligned", "interleaved"),
        "model.align_corners": (False, True),
        "objective.generator_weight": (0.5, 1.0),
        "objective.conditioning": ("sum", "mean"),
        "objective.mismatched_pairs": (False, True),
        "objective.one_forward": (True, False),
        "objective.smaller_images": ("average", "bilinear"),
        "optimizer.ema_warmup": (True, False),
    }
    assert differences("cub") == common | {"train.epochs": (600, 800)}
    more = {"train.epochs": (120, 200), "train.batch_size": (10, 16), "model.residual_blocks": (2, 3)}
    assert differences("coco") == common | more


def test_the_quickstart_is_the_same_architecture_at_16_32_64() -> None:
    config = load_config()
    assert config.model.image_sizes == [16, 32, 64] and config.model.memory == "m_wg_rg"
    assert config.train.workers == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("objective.lambda_dmsm=3", "objective.lambda_dmsm: unknown key; did you mean objective.lambda_damsm?"),
        ("zero_stage=2", "zero_stage: unknown key; did you mean deepspeed.zero_stage?"),
        ("model.base_size=17", "model.base_size=17: expected a power of two from 8 to 256"),
        ("model.word_dim=3", "model.word_dim=3: expected an even number"),
        ("train.batch_size=many", "train.batch_size='many': input should be a valid integer"),
        ("train.batch_size=0", "train.batch_size=0: input should be greater than or equal to 2"),
        ("deepspeed.zero_stage=4", "deepspeed.zero_stage=4: input should be 0, 1, 2 or 3"),
        ("model.memory=none", "model.memory='none': input should be 'baseline'"),
        ("model.refinements=-1", "model.refinements=-1: input should be greater than or equal to 0"),
        ("model.base_size=8 model.refinements=0", "model.image_encoder=compact: expected images of at least 16 pixels"),
        ("text.tokenizer=bert", "text.tokenizer='bert': input should be 'words', 'bpe' or 'characters'"),
        ("text.vocabulary_size=256 text.tokenizer=bpe", "text.vocabulary_size=256: input should be greater than or"),
        ("text.vocabulary_size=900", "text.vocabulary_size=900: expected tokenizer=bpe, got words"),
        ("text.min_count=2 text.tokenizer=bpe", "text.min_count=2: expected tokenizer=words, got bpe"),
        ("text.min_count=0", "text.min_count=0: input should be greater than 0"),
        ("train.min_workers=3", "train.min_workers=3: expected at most train.workers=2"),
        ("train.accumulate=2", "train.accumulate=2: expected objective.negatives=local: what spans the batch of all"),
        ("train", "--set train: expected KEY=VALUE"),
        ("train=3", "train=3: input should be"),
        ("train.seed.x=3", "train.seed.x: unknown key"),
        ("trian.batch_size=3", "trian.batch_size: unknown key; did you mean train.batch_size or pretrain.batch_size"),
        ("train.lr=3", "train.lr: unknown key; did you mean pretrain.lr or optimizer."),
        ("max_steps=3", "max_steps: unknown key; did you mean pretrain.max_steps or train.max_steps?"),
        ("train.max_steps=", "--set train.max_steps=: no value"),
        (f"train.seed={'9' * 300}", "--set train.seed=99999"),
    ],
)
def test_mistakes_are_named_in_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", override.split())
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_files_start_from_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("preset: coco\nobjective:\n  lambda_damsm: 7\n")
    config = load_config(path, ["optimizer.generator_lr=1e-4"])
    assert config.objective.lambda_damsm == 7 and config.train.epochs == 120
    assert config.optimizer.generator_lr == 1e-4


def test_files_that_are_no_configuration_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config nowhere: neither a preset"):
        load_config("nowhere")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(ConfigError, match=r"broken.yaml, line 1: not readable as YAML"):
        load_config(broken)
    broken.write_text("train:\n  batch_size: 4\ntrain:\n  workers: 3\n")
    with pytest.raises(ConfigError, match=r"broken.yaml, line 3: not readable as YAML: train is there twice"):
        load_config(broken)
    broken.write_text("- a\n")
    with pytest.raises(ConfigError, match="expected sections"):
        load_config(broken)


def test_a_section_that_is_set_keeps_its_other_keys() -> None:
    config = load_config("cub", ["train.max_steps=7", "train={batch_size: 4}"])
    assert config.train.batch_size == 4 and config.train.max_steps == 7


def test_birds_are_drawn_at_the_presets_own_url_alone(tmp_path: Path) -> None:
    assert load_config().data.draw_birds and load_config(None, [f"data.url={load_config().data.url}"]).data.draw_birds
    assert not load_config(None, ["data.url=s3://mistyped/birds"]).data.draw_birds
    assert load_config(None, ["data.url=s3://mine/birds", "data.draw_birds=true"]).data.draw_birds
    path = tmp_path / "mine.yaml"
    path.write_text("preset: quickstart\ndata: {url: /elsewhere}\n")
    assert not load_config(path).data.draw_birds
    assert not load_config(load_config(), ["data.url=/elsewhere"]).data.draw_birds


def test_presets_are_read_in_any_locale() -> None:
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PATH": "/usr/bin"}
    code = "from dmgan.config import load_config; load_config('cub')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_key_is_described_or_plain() -> None:
    assert set(Config.model_fields) >= {"data", "model", "objective", "optimizer", "train", "checkpoint", "evaluate"}


def test_what_decides_the_tokenizer_is_fixed_for_a_run_and_makes_other_encoders() -> None:
    keys = {"text.tokenizer", "text.vocabulary_size", "text.min_count"}
    assert all(keys <= set(keys_with(role)) for role in ("network", "fixed", "encoders"))
    assert not keys & set(keys_with("not searched"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  max_steps: soon\n", "line 2: train.max_steps='soon': input should be a valid integer"),
        ("preset: cub\n\ntrain:\n  # many\n  workrs: 3\n", "line 5: train.workrs: unknown key; did you mean"),
        ("preset: cub\ntrian:\n  workers: 3\n", "line 2: trian: unknown key"),
        ("preset: cub\ntrain: 3\n", "line 2: train=3: input should be"),
        ("train:\n  workers: 2\n  min_workers: 3\n", "line 3: train.min_workers=3: expected at most train.workers=2"),
        ("loggers: [tensorboard, 3]\n", "line 1: loggers.1=3: input should be a valid string"),
        ("preset: 3\n", "preset: expected a name or a file, found 3"),
    ],
)
def test_a_mistake_in_a_file_names_its_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(file)
    assert message in str(refused.value)
    assert "line" not in message or str(refused.value).startswith(f"{file}, line ")


def test_the_line_is_that_of_the_file_where_the_value_stands(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("train:\n  batch_size: 12\n  epochs: none\n")
    (tmp_path / "over.yaml").write_text(f"preset: {tmp_path / 'base.yaml'}\ntrain:\n  batch_size: 8\n")
    with pytest.raises(ConfigError, match=r"base\.yaml, line 3: train\.epochs='none'"):
        load_config(tmp_path / "over.yaml")
    with pytest.raises(ConfigError, match=r"^train\.epochs='never'"):  # of a flag, which it names itself
        load_config(tmp_path / "over.yaml", ["train.epochs=never"])


def test_own_captions_of_samples_are_a_list_or_read_from_a_file(tmp_path: Path) -> None:
    listed = load_config(None, ["samples.captions=[a red bird, a blue one]"])
    assert listed.samples.captions == ("a red bird", "a blue one") and absolute_paths(listed) == absolute_paths(listed)
    file = tmp_path / "mine.txt"
    file.write_text("a red bird\n\n  a blue one \n")
    assert absolute_paths(load_config(None, [f"samples.captions={file}"])).samples.captions == (listed.samples.captions)
    for content, message in ((b"\n\n", "holds no captions"), (b"\xff\xfe", "not UTF-8 at byte 0"), (None, "not found")):
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        with pytest.raises(ConfigError, match=rf"samples\.captions={file}: {message}"):
            absolute_paths(load_config(None, [f"samples.captions={file}"]))
    for wrong, message in (("[]", "expected 1 to 64 captions"), ("['a', ' ']", "expected no empty caption")):
        with pytest.raises(ConfigError, match=message):
            load_config(None, [f"samples.captions={wrong}"])
