"""Search spaces: which configuration keys are tried with which values.

A preset or a YAML file of lines such as

    objective.lambda_damsm: {loguniform: [0.1, 100]}
    model.memory_dim: {choice: [64, 128, 256]}
    train.batch_size: {randint: [8, 17]}          # the upper end is left out
    optimizer.beta1: {uniform: [0.0, 0.9]}
    model.memory: {grid: [m, m_wg_rg]}            # every value, combined with every other grid's
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any

import yaml

from dmgan.config import Config, ConfigError, known_keys, load_config, suggestion

__all__ = ["Parameter", "Space", "load_space", "parse_space", "presets"]

_PRESETS = Path(__file__).parent / "presets"
_LISTS, _RANGES = ("choice", "grid"), ("uniform", "loguniform", "randint")
# Scores of other data or protocols do not compare, and a sweep has one set of rules.
_NOT_SEARCHED = ("data.url", "data.draw_birds", "data.local_s3", "evaluate.", "tune.", "checkpoint.", "train.max_steps")


@dataclass(frozen=True)
class Parameter:
    key: str
    kind: str  # choice, grid, uniform, loguniform, randint
    values: tuple[Any, ...]  # those to choose from, or the two ends

    @property
    def is_number(self) -> bool:
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    @property
    def is_logarithmic(self) -> bool:
        return self.kind == "loguniform"

    def domain(self) -> Any:
        """As Ray Tune has it."""
        from ray import tune

        if self.kind == "grid":
            return tune.grid_search(list(self.values))
        if self.kind == "choice":
            return tune.choice(list(self.values))
        return {"uniform": tune.uniform, "loguniform": tune.loguniform, "randint": tune.randint}[self.kind](
            *self.values
        )


@dataclass(frozen=True)
class Space:
    parameters: tuple[Parameter, ...]

    @property
    def keys(self) -> list[str]:
        return [parameter.key for parameter in self.parameters]

    @property
    def has_grid(self) -> bool:
        return any(parameter.kind == "grid" for parameter in self.parameters)

    def trials(self, wanted: int) -> int:
        """How many there will be: the combinations of the grids, `wanted` times if anything is left to chance."""
        grids = [len(parameter.values) for parameter in self.parameters if parameter.kind == "grid"]
        if not grids:
            return wanted
        return prod(grids) * (wanted if len(grids) < len(self.parameters) else 1)

    def to_dict(self) -> dict[str, Any]:
        return {parameter.key: {parameter.kind: list(parameter.values)} for parameter in self.parameters}


def presets() -> list[str]:
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def load_space(name_or_path: str, config: Config) -> Space:
    """A preset's or file's space, every key and value tried on `config`. Raises ConfigError."""
    path = _PRESETS / f"{name_or_path}.yaml"
    if not path.exists():
        path = Path(name_or_path)
        if not path.is_file():
            raise ConfigError(f"--search {name_or_path}: neither a preset ({', '.join(presets())}) nor a file")
    try:
        tree = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    return parse_space(tree, config, str(path))


def parse_space(tree: Any, config: Config, where: str) -> Space:
    """The space of parsed YAML. Raises ConfigError, which begins with `where`."""
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(f"{where}: expected lines such as objective.lambda_damsm: {{loguniform: [0.1, 100]}}")
    parameters = tuple(_parameter(str(key), entry, where) for key, entry in tree.items())
    for parameter in parameters:
        for value in _tried(parameter):
            try:
                load_config(
                    config, [f"{parameter.key}={yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}"]
                )
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from error
    space = Space(parameters)
    _check_method(space, config, where)
    return space


def _parameter(key: str, entry: Any, where: str) -> Parameter:
    if key not in known_keys():
        raise ConfigError(f"{where}: {key}: unknown key{suggestion(key)}")
    if key.startswith(_NOT_SEARCHED):
        raise ConfigError(f"{where}: {key}: cannot be searched over: trials could not be compared, or resumed")
    kinds = (*_LISTS, *_RANGES)
    if not isinstance(entry, Mapping) or len(entry) != 1 or next(iter(entry)) not in kinds:
        raise ConfigError(f"{where}: {key}: expected one of {', '.join(kinds)} with a list, got {entry!r}")
    ((kind, values),) = entry.items()
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ConfigError(f"{where}: {key}: {kind}: expected a list, got {values!r}")
    if any(isinstance(value, list | dict) for value in values) or len(set(map(str, values))) < len(values):
        raise ConfigError(f"{where}: {key}: {kind}: expected different single values, got {values!r}")
    if kind in _RANGES:
        _check_range(f"{where}: {key}: {kind}", kind, values)
    return Parameter(key, kind, tuple(values))


def _check_range(what: str, kind: str, values: Sequence[Any]) -> None:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) and isfinite(v) for v in values)
    if len(values) != 2 or not numbers or values[0] >= values[1]:
        raise ConfigError(f"{what}: expected two rising numbers, got {list(values)!r}")
    if kind == "loguniform" and values[0] <= 0:
        raise ConfigError(f"{what}: expected numbers above 0, got {list(values)!r}")
    if kind == "randint" and not all(isinstance(v, int) for v in values):
        raise ConfigError(f"{what}: expected integers, got {list(values)!r}")


def _tried(parameter: Parameter) -> list[Any]:
    """Values that, if they are accepted, all are."""
    if parameter.kind == "randint":
        return [parameter.values[0], parameter.values[1] - 1]
    return list(parameter.values)


def _check_method(space: Space, config: Config, where: str) -> None:
    options = config.tune
    if space.has_grid and options.search == "optuna":
        raise ConfigError(f"tune.search=optuna: expected random: {where} has a grid, which Optuna does not walk")
    if options.scheduler == "pbt":
        fixed = [key for key in space.keys if not key.startswith(("optimizer.", "objective."))]
        if fixed or space.has_grid:
            what = fixed[0] if fixed else "a grid"
            raise ConfigError(
                f"tune.scheduler=pbt: expected optimizer.* and objective.* with ranges or choices alone: {where} has "
                f"{what}, and a trial goes on from the weights of another"
            )
