from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from dmgan.config import Config, known_keys, load_config, load_sourced, presets
from dmgan.config.reference import commented, json_schema, page, records

ROOT = Path(__file__).parents[3]


def test_the_page_of_the_configuration_is_current() -> None:
    found = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert found == page(), "made anew by: python -m dmgan.launch config docs > docs/configuration.md"


def test_the_schema_takes_every_preset_and_a_file_that_starts_from_one() -> None:
    schema = json.loads(json.dumps(json_schema()))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for name in presets():
        text = (ROOT / "dmgan" / "config" / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
        validator.validate(yaml.safe_load(text))
        validator.validate(load_config(name).model_dump(mode="json"))
    validator.validate({"preset": "cub", "train": {"workers": 4}})


@pytest.mark.parametrize("wrong", [{"train": {"workers": 0}}, {"trian": {}}, {"model": {"memory": "all"}}])
def test_the_schema_refuses_what_loading_refuses(wrong: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json_schema())


def test_each_key_has_its_source(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("preset: cub\ntrain:\n  batch_size: 12\n\n  workers: 2\n")
    sourced = load_sourced(file, ["optimizer.ema=0.9"], {"train.workers": ("--workers", 3)})
    assert sourced.config.train.workers == 3 and sourced.config.objective.lambda_damsm == 5
    sources = {record["key"]: record["source"] for record in records(sourced)}
    assert list(sources) == known_keys()
    expected = {
        "train.batch_size": f"{file}:3",
        "train.workers": "--workers",
        "optimizer.ema": "--set",
        "objective.lambda_damsm": "preset cub",
        "train.seed": "default",
    }
    assert {key: sources[key] for key in expected} == expected


def test_birds_that_are_not_drawn_at_another_url_have_their_reason() -> None:
    sourced = load_sourced(None, ["data.url=/elsewhere"])
    assert not sourced.config.data.draw_birds
    assert sourced.sources["data.draw_birds"] == "data.url is another than the preset's"


@pytest.mark.parametrize("name", presets())
def test_what_is_shown_can_be_used_as_a_file(name: str, tmp_path: Path) -> None:
    sourced = load_sourced(name, ["loggers=[]"])
    (tmp_path / "shown.yaml").write_text(commented(sourced), encoding="utf-8")
    assert load_config(tmp_path / "shown.yaml") == sourced.config != Config()
