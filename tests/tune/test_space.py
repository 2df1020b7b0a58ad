from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dmgan.config import ConfigError, load_config, with_values
from dmgan.evaluation.judges import encoders_key
from dmgan.launch import main
from tune.results import minimised, rungs
from tune.space import load_space, parse_space, presets


@pytest.mark.parametrize("name", presets())
def test_presets_are_spaces_of_the_papers_configuration(name: str) -> None:
    space = load_space(name, load_config("cub"))
    assert space.keys and all(parameter.domain() is not None for parameter in space.parameters)


def test_the_papers_grids() -> None:
    cub = load_config("cub")
    table3, lambda2 = load_space("table3", cub), load_space("lambda2", cub)
    assert table3.parameters[1].values == ("baseline", "m", "m_wg", "m_wg_rg") and table3.trials(99) == 12
    assert lambda2.parameters[1].values == (0.1, 1, 5, 10, 50, 100) and lambda2.trials(99) == 18
    assert load_space("all", cub).trials(7) == 7


@pytest.mark.parametrize("name", ["table1", "table3", "tables", "lambda2", "refinements"])
def test_a_grid_that_is_ended_early_has_compared_everything_over_fewer_seeds(name: str) -> None:
    plan = load_space(name, load_config("cub")).plan(99, seed=0)
    of_a_seed = len(plan) // 3
    for seed in range(3):
        part = plan[seed * of_a_seed : (seed + 1) * of_a_seed]
        assert {trial["train.seed"] for trial in part} == {seed}
        assert len({str(trial | {"train.seed": None}) for trial in part}) == of_a_seed


def test_both_tables_in_one_train_what_each_does() -> None:
    """But for DM-GAN, which is a row of both."""
    cub = load_config("cub")

    def trained(name: str) -> list[object]:
        space = load_space(name, cub)
        configs = [space.config(cub, values) for values in space.plan(99, seed=0)]
        return [config for i, config in enumerate(configs) if config not in configs[:i]]

    both, one, three = (trained(name) for name in ("tables", "table1", "table3"))
    assert len(both) == 21 and all(config in both for config in [*one, *three])
    assert len([config for config in one if config in three]) == 3


def test_a_space_is_written_and_read() -> None:
    config = load_config("cub")
    space = load_space("all", config)
    assert parse_space(space.to_dict(), config, "again") == space
    mixed = {"model.memory": {"grid": ["m", "m_wg"]}, "optimizer.beta1": {"uniform": [0.0, 0.9]}}
    assert parse_space(mixed, config, "mixed").trials(5) == 10


def test_the_plan_of_a_space() -> None:
    config = load_config("cub")
    table3 = load_space("table3", config).plan(99, seed=0)
    assert len(table3) == 12 and {"model.memory": "m", "train.seed": 2} in table3
    tree = {
        "model.memory": {"grid": ["m", "m_wg"]},
        "optimizer.generator_lr": {"loguniform": [1e-5, 1.0e-3]},
        "train.batch_size": {"randint": [4, 9]},
    }
    space = parse_space(tree, config, "mixed")
    plan = space.plan(20, seed=1)
    assert len(plan) == 40 and plan == space.plan(20, seed=1) and plan != space.plan(20, seed=2)
    assert all(1e-5 <= p["optimizer.generator_lr"] <= 1e-3 and p["train.batch_size"] in range(4, 9) for p in plan)
    assert json.loads(json.dumps(plan)) == plan  # as trial.json has them


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("objective.lamda_damsm: {choice: [1]}", "objective.lamda_damsm: unknown key; did you mean objective.lambda_"),
        ("data.url: {choice: [a]}", "data.url: cannot be searched over"),
        ("evaluate.images: {choice: [10]}", "evaluate.images: cannot be searched over"),
        ("model.memory: {choice: [m, n]}", "model.memory='n': input should be 'baseline', 'm'"),
        ("model.word_dim: {choice: [64, 63]}", "model.word_dim=63: expected an even number"),
        ("optimizer.generator_lr: {loguniform: [0, 1]}", "loguniform: expected numbers above 0, got [0, 1]"),
        ("optimizer.generator_lr: {uniform: [2, 1]}", "uniform: expected two rising numbers, got [2, 1]"),
        ("optimizer.generator_lr: {uniform: [-1, 1]}", "optimizer.generator_lr=-1: input should be greater than 0"),
        ("train.batch_size: {randint: [2, 8.5]}", "randint: expected integers"),
        ("train.batch_size: {randit: [2, 8]}", "expected one of choice, grid, cases, uniform, loguniform, randint"),
        ("model.memory_dim: {uniform: [8, 48]}", "model.memory_dim=32.72: input should be a valid integer"),
        ("model.word_dim: {randint: [64, 67]}", "model.word_dim=65: expected an even number"),
        ("train.workers: {choice: [1, 64]}", "train.workers: cannot be searched over"),
        ("train.batch_size: {choice: 8}", "choice: expected a list, got 8"),
        ("train.batch_size: {choice: [8, 8]}", "expected different single values"),
        ("- train.batch_size", "expected lines such as objective.lambda_damsm"),
        ("a: [", "not readable as YAML"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "space.yaml").write_text(line)
    arguments = [
        "tune",
        "--config",
        "cub",
        "--search",
        str(tmp_path / "space.yaml"),
        "--storage",
        str(tmp_path / "runs"),
    ]
    assert main(arguments) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "space.yaml" in said[0] and message in said[0]
    assert not (tmp_path / "runs").exists()


def test_methods_that_do_not_go_with_a_space(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"tune.search=optuna: expected random: .* has a grid"):
        load_space("table3", load_config("cub", ["tune.search=optuna"]))
    with pytest.raises(ConfigError, match=r"tune.scheduler=pbt: .* has model.memory_dim, and a trial goes on from"):
        load_space("all", load_config("cub", ["tune.scheduler=pbt"]))
    assert load_space("rates", load_config("cub", ["tune.scheduler=pbt"])).keys
    with pytest.raises(ConfigError, match=r"tune.scheduler=asha: expected none: .* has a grid of seeds"):
        load_space("table3", load_config("cub", ["tune.scheduler=asha"]))
    damsm = load_config("cub", ["evaluate.features=damsm"])
    with pytest.raises(ConfigError, match=r"evaluate.features=damsm: .* has model.word_dim, which changes"):
        load_space("all", damsm)
    assert load_space("all", load_config(damsm, ["tune.objective=r_precision"])).keys
    objective = "tune.objective=r_precision"
    assert main(["tune", "--search", "table3", "--trials", "4", "--storage", str(tmp_path), "--set", objective]) == 2
    assert "--trials 4: expected none: table3 is a grid of 12 trials" in capsys.readouterr().err
    assert main(["tune", "--storage", str(tmp_path)]) == 2
    assert re.search(
        r"--search: not given; expected a preset \(.*\btable3\b.*\) or a YAML file", capsys.readouterr().err
    )
    assert main(["tune", "--search", "nowhere", "--storage", str(tmp_path)]) == 2
    assert "--search nowhere: neither a preset" in capsys.readouterr().err


def test_rungs() -> None:
    def of(steps: int, scheduler: str = "asha") -> list[int]:
        return rungs(scheduler, load_config("cub", ["tune.first_rung=100"]).tune, steps)

    assert of(1000) == [100, 300, 900, 1000] and of(900) == [100, 300, 900] and of(80) == [80]
    assert of(350, "pbt") == [100, 200, 300, 350] and of(350, "none") == [350]


def test_what_is_best() -> None:
    good = {"fid": 2.0, "r_precision": {"mean": 0.5}}
    for objective, worse in (
        ("fid", {"fid": 3.0, "r_precision": {"mean": 0.9}}),
        ("r_precision", {"fid": 1.0, "r_precision": {"mean": 0.4}}),
        ("pair", {"fid": 2.0, "r_precision": {"mean": 0.4}}),
        ("pair", {"fid": 2.1, "r_precision": {"mean": 0.5}}),
    ):
        options = load_config("cub", [f"tune.objective={objective}"]).tune
        assert minimised(options, good) < minimised(options, worse)


@pytest.mark.parametrize(
    "key",
    ["optimizer.beta1", "optimizer.beta2", "train.batch_statistics", "train.seed", "pretrain.lr", "data.max_words"],
)
def test_encoders_are_shared_by_trials_that_pre_train_alike_alone(key: str) -> None:
    """What pre-training depends on decides which encoders a trial has."""
    config = load_config("cub")
    values = {"train.batch_statistics": ["global", "local"], "train.seed": [0, 1], "data.max_words": [17, 18]}
    pair = values.get(key, [0.1, 0.2])
    space = parse_space({key: {"choice": pair}, "objective.lambda_ca": {"choice": [1, 2]}}, config, "x")
    assert [parameter.key for parameter in space.of_encoders] == [key] and space.shares_encoders
    keys = {encoders_key(with_values(config, {key: value})) for value in pair}
    assert len(keys) == 2
    assert len({encoders_key(with_values(config, {"objective.lambda_ca": value})) for value in (1, 2)}) == 1
    if key not in values:
        assert not parse_space({key: {"uniform": [0.1, 0.2]}}, config, "x").shares_encoders


def test_cases_are_systems_that_draw_images_of_one_size() -> None:
    cub = load_config("cub")
    table1, refinements = load_space("table1", cub), load_space("refinements", cub)
    assert table1.trials(99) == 12 and refinements.trials(99) == 12
    assert {"system": "attngan", "train.seed": 1} in table1.plan(1, seed=0)
    first = table1.config(cub, {"system": "gan-int-cls", "train.seed": 2})
    assert first.model.image_sizes == [256] and first.objective.mismatched_pairs and first.train.seed == 2
    sizes = [refinements.config(cub, {"refinements": n, "train.seed": 0}).model.image_sizes for n in "0123"]
    assert [len(of_one) for of_one in sizes] == [1, 2, 3, 4] and {of_one[-1] for of_one in sizes} == {256}
    assert parse_space(table1.to_dict(), cub, "again") == table1


def test_trials_of_all_seeds_and_systems_share_encoders() -> None:
    config = load_config("birds-2")
    for name in ("table1", "table3", "refinements", "lambda2"):
        space = load_space(name, config)  # damsm features are one extractor for all
        assert not space.of_encoders and space.shares_encoders
        assert len({encoders_key(space.encoders_config(config, values)) for values in space.plan(1, seed=0)}) == 1


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ({"a": {"model.memory": "m"}}, "expected two or more names with keys"),
        ({"a": {"model.memory": "m"}, "b": {"model.memry": "m"}}, "system: b: model.memry: unknown key; did you mean"),
        ({"a": {"model.memory": "m"}, "b": {"model.word_dim": 8}}, "model.word_dim: changes the encoders"),
        ({"a": {"model.memory": "m"}, "b": {"data.url": "x"}}, "data.url: cannot be searched over"),
        ({"a": {"model.memory": "m"}, "b": {"model.base_size": 32}}, "gives images of 128 pixels, not 256"),
        ({"a": {"model.memory": "m"}, "b": {"model.architecture": "gan-int-cls"}}, "expected 0 with model.architectur"),
    ],
)
def test_a_mistake_in_cases_is_one_line(cases: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        parse_space({"system": {"cases": cases}}, load_config("cub"), "space.yaml")
    assert str(error.value).startswith("space.yaml: ") and "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="cases: expected a name of its own"):
        parse_space({"model.memory": {"cases": {"a": {}, "b": {}}}}, load_config("cub"), "space.yaml")
