"""Search spaces: which configuration keys are tried with which values.

A preset or a YAML file of lines such as

    objective.lambda_damsm: {loguniform: [0.1, 100]}
    model.memory_dim: {choice: [64, 128, 256]}
    train.batch_size: {randint: [8, 17]}          # the upper end is left out
    optimizer.beta1: {uniform: [0.0, 0.9]}
    model.memory: {grid: [m, m_wg_rg]}            # every value, combined with every other grid's

and of systems that differ in several keys at once (`tune.cases`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from datasets.documents import exists, parse_yaml, read_text, short
from dmgan.config import Config, ConfigError, Tune, keys_with, known_keys, suggestion, with_values
from tune.cases import Cases, parse_cases, with_case

__all__ = ["Parameter", "Space", "load_space", "parse_space", "presets", "scheduler_of"]

_PRESETS = Path(__file__).parent / "presets"
_GRIDS = ("grid", "cases")  # of which every value is tried
_LISTS, _RANGES = ("choice", *_GRIDS), ("uniform", "loguniform", "randint")
_COMBINATIONS = 256  # tried before a sweep starts


@dataclass(frozen=True)
class Parameter:
    key: str
    kind: str  # choice, grid, cases, uniform, loguniform, randint
    values: tuple[Any, ...]  # those to choose from, of cases their names, or the two ends
    cases: Cases = field(default_factory=dict)  # of each name what it sets

    @property
    def is_listed(self) -> bool:
        """Whether the values are a list and not a range."""
        return self.kind in _LISTS

    @property
    def is_logarithmic(self) -> bool:
        return self.kind == "loguniform"

    @property
    def is_grid_of_seeds(self) -> bool:
        return self.key == "train.seed" and self.kind == "grid"

    def domain(self) -> Any:
        """As Ray Tune has it."""
        from ray import tune

        if self.kind in _GRIDS:
            return tune.grid_search(list(self.values))
        if self.kind == "choice":
            return tune.choice(list(self.values))
        return {"uniform": tune.uniform, "loguniform": tune.loguniform, "randint": tune.randint}[self.kind](
            *self.values
        )

    def sampled(self) -> Any:
        """As Ray Tune has it where a grid's values are given by hand."""
        from ray import tune

        return tune.choice(list(self.values)) if self.kind in _GRIDS else self.domain()

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        if self.kind in _LISTS:
            return CategoricalDistribution(self.values)
        if self.kind == "randint":
            return IntDistribution(self.values[0], self.values[1] - 1)
        return FloatDistribution(self.values[0], self.values[1], log=self.is_logarithmic)

    def nearest(self, value: Any) -> Any:
        """The value, or the end of the range that it is beyond."""
        if self.kind in _LISTS:
            return value
        low, high = self.values[0], self.values[1] - (self.kind == "randint")
        return min(max(value, low), high)


@dataclass(frozen=True)
class Space:
    parameters: tuple[Parameter, ...]

    @property
    def keys(self) -> list[str]:
        return [parameter.key for parameter in self.parameters]

    @property
    def hyperparameters(self) -> list[Parameter]:
        """All but the seed, which makes no trial better."""
        return [parameter for parameter in self.parameters if parameter.key != "train.seed"]

    @property
    def has_grid(self) -> bool:
        return any(parameter.kind in _GRIDS for parameter in self.parameters)

    def config(self, base: Config, values: Mapping[str, object]) -> Config:
        """The configuration of a trial with these values. Raises ConfigError."""
        return _configured(self.parameters, base, values, "trial")

    def encoders_config(self, base: Config, values: Mapping[str, object]) -> Config:
        """The configuration that the encoders of such a trial are pre-trained with.

        A grid of seeds is of the GAN's training alone: all of its trials have the encoders of the sweep's own seed, so
        that they differ in nothing but what is compared.
        """
        chosen = self.config(base, values)
        return with_values(chosen, {"train.seed": base.train.seed}) if self.has_grid_of_seeds else chosen

    @property
    def has_grid_of_seeds(self) -> bool:
        return any(parameter.is_grid_of_seeds for parameter in self.parameters)

    @property
    def shares_encoders(self) -> bool:
        """Whether trials can have encoders in common: those that differ in no key of the encoders do."""
        return all(parameter.kind in _LISTS for parameter in self.of_encoders)

    @property
    def of_encoders(self) -> list[Parameter]:
        """The parameters that the encoders' pre-training depends on."""
        return [p for p in self.parameters if p.key in keys_with("encoders") and not p.is_grid_of_seeds]

    def plan(self, trials: int, seed: int) -> list[dict[str, object]]:
        """The values of all trials: every combination of the grids, the rest drawn by the seed."""
        random = np.random.RandomState(seed)
        grids = [p for p in self.parameters if p.kind in _GRIDS]
        rounds = self.trials(trials) // prod(len(p.values) for p in grids)
        return [
            {
                p.key: chosen[p.key] if p.kind in _GRIDS else _plain(p.domain().sample(random_state=random))
                for p in self.parameters
            }
            for _ in range(rounds)
            for combination in product(*(p.values for p in grids))
            for chosen in [dict(zip((p.key for p in grids), combination, strict=True))]
        ]

    def trials(self, wanted: int) -> int:
        """How many there will be: the combinations of the grids, `wanted` times if anything is left to chance."""
        grids = [len(parameter.values) for parameter in self.parameters if parameter.kind in _GRIDS]
        if not grids:
            return wanted
        return prod(grids) * (wanted if len(grids) < len(self.parameters) else 1)

    def to_dict(self) -> dict[str, object]:
        return {
            p.key: {p.kind: {case: dict(keys) for case, keys in p.cases.items()} if p.cases else list(p.values)}
            for p in self.parameters
        }


def presets() -> list[str]:
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def load_space(name_or_path: str, config: Config) -> Space:
    """A preset's or file's space, every key and value tried on `config`. Raises ConfigError."""
    path = _PRESETS / f"{name_or_path}.yaml"
    if name_or_path not in presets():
        path = Path(name_or_path)
        if not exists(path):
            raise ConfigError(f"--search {name_or_path}: neither a preset ({', '.join(presets())}) nor a file")
    return parse_space(parse_yaml(read_text(path, error_type=ConfigError), str(path), ConfigError), config, str(path))


def parse_space(tree: Any, config: Config, where: str) -> Space:
    """The space of parsed YAML. Raises ConfigError, which begins with `where`."""
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(f"{where}: expected lines such as objective.lambda_damsm: {{loguniform: [0.1, 100]}}")
    parameters = tuple(_parameter(str(key), entry, where) for key, entry in tree.items())
    for values in _combinations(parameters):
        try:
            _configured(parameters, config, values, where)
        except ConfigError as error:
            raise ConfigError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from error
    space = Space(parameters)
    _check_method(space, config, where)
    return space


def _configured(parameters: Sequence[Parameter], base: Config, values: Mapping[str, object], where: str) -> Config:
    named = {p.key: p.cases[str(values[p.key])] for p in parameters if p.cases}
    plain = with_values(base, {key: value for key, value in values.items() if key not in named})
    return with_case(plain, {k: v for case in named.values() for k, v in case.items()}, where) if named else plain


def _parameter(key: str, entry: Any, where: str) -> Parameter:
    if isinstance(entry, Mapping) and list(entry) == ["cases"]:
        cases = parse_cases(key, entry["cases"], where)
        return Parameter(key, "cases", tuple(cases), cases)
    if key not in known_keys():
        raise ConfigError(f"{where}: {key}: unknown key{suggestion(key)}")
    if key in keys_with("not searched"):
        raise ConfigError(f"{where}: {key}: cannot be searched over: trials could not be compared, or resumed")
    kinds = (*_LISTS, *_RANGES)
    if not isinstance(entry, Mapping) or len(entry) != 1 or next(iter(entry)) not in kinds:
        raise ConfigError(f"{where}: {key}: expected one of {', '.join(kinds)} with a list, got {short(repr(entry))}")
    ((kind, values),) = entry.items()
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ConfigError(f"{where}: {key}: {kind}: expected a list, got {short(repr(values))}")
    values = list(values)
    if any(isinstance(value, list | dict) for value in values) or len(set(map(str, values))) < len(values):
        raise ConfigError(f"{where}: {key}: {kind}: expected different single values, got {short(repr(values))}")
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


def _combinations(parameters: Sequence[Parameter]) -> Iterator[dict[str, object]]:
    """What must be accepted for all to be: each value with the first ones of the others, and many combinations."""
    tried = {p.key: _tried(p) for p in parameters}
    first = {key: values[0] for key, values in tried.items()}
    if prod(len(values) for values in tried.values()) <= _COMBINATIONS:
        yield from (dict(zip(tried, values, strict=True)) for values in product(*tried.values()))
        return
    for key, values in tried.items():
        yield from (first | {key: value} for value in values)
    random = np.random.RandomState(0)
    for _ in range(_COMBINATIONS):
        yield {key: values[random.randint(len(values))] for key, values in tried.items()}


def _tried(parameter: Parameter) -> list[Any]:
    """Values that, if they are accepted, all are; for a range with one between that is no integer."""
    if parameter.kind == "randint":
        return (
            list(range(*parameter.values))
            if parameter.values[1] - parameter.values[0] <= 1000
            else list(parameter.values)
        )
    if parameter.kind in _RANGES:
        low, high = parameter.values
        return [low, low + 0.618 * (high - low), high]
    return list(parameter.values)


def _plain(value: Any) -> Any:
    """A NumPy number as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _check_method(space: Space, config: Config, where: str) -> None:
    options = config.tune
    if space.has_grid and options.search == "optuna":
        raise ConfigError(f"tune.search=optuna: expected random: {where} has a grid, which Optuna does not walk")
    if options.scheduler == "asha" and space.has_grid_of_seeds:
        raise ConfigError(
            f"tune.scheduler=asha: expected none: {where} has a grid of seeds, and their mean would be of those "
            "alone that were not stopped"
        )
    damsm = config.evaluate.features == "damsm" and options.objective in ("fid", "inception_score", "pair", "kid")
    if damsm and space.of_encoders and (config.pretrain.encoders is None or "model.word_dim" in space.keys):
        raise ConfigError(
            f"evaluate.features=damsm: {where} has {space.of_encoders[0].key}, which changes the encoders and what "
            "FID is on; expected another extractor, tune.objective=r_precision, or pretrain.encoders=RUN"
        )
    if options.scheduler == "pbt":
        fixed = [key for key in space.keys if key not in keys_with("live")]
        if fixed or space.has_grid:
            what = fixed[0] if fixed else "a grid"
            raise ConfigError(
                f"tune.scheduler=pbt: expected optimizer.* and objective.lambda_* with ranges or choices alone: "
                f"{where} has {what}, and a trial goes on from the weights of another"
            )


def scheduler_of(space: Space, options: Tune) -> str:
    """asha, pbt or none."""
    return options.scheduler or ("none" if space.has_grid else "asha")
