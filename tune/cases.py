"""Cases of a space: systems that differ in several keys at once, by name.

    system:
      cases:
        attngan: { model.architecture: attngan }
        dm-gan: { model.architecture: dm-gan, model.memory: m_wg_rg }

Every case is tried, with every value of the grids. Where a case sets the number of refinements but not the first
stage's size, the latter follows, so that all cases draw images of the same size.
"""

from __future__ import annotations

from collections.abc import Mapping

from datasets.documents import short
from dmgan.architectures import architectures
from dmgan.config import Config, ConfigError, keys_with, known_keys, suggestion, with_values

__all__ = ["Cases", "parse_cases", "with_case"]

Cases = Mapping[str, Mapping[str, object]]  # case → key → value
_STAGES = ("model.refinements", "model.base_size")  # not searched otherwise: they decide the size of the images


def parse_cases(name: str, entry: object, where: str) -> dict[str, dict[str, object]]:
    """The cases of `name` from parsed YAML. Raises ConfigError."""
    if name in known_keys() or "." in name or not name:
        raise ConfigError(f"{where}: {name}: cases: expected a name of its own, such as system, not a key")
    if not isinstance(entry, Mapping) or len(entry) < 2:
        raise ConfigError(f"{where}: {name}: cases: expected two or more names with keys, got {short(repr(entry))}")
    found: dict[str, dict[str, object]] = {}
    for case, keys in entry.items():
        what = f"{where}: {name}: {case}"
        if not isinstance(keys, Mapping) or not keys:
            raise ConfigError(f"{what}: expected keys with a value each, got {short(repr(keys))}")
        for key in keys:
            if key not in known_keys():
                raise ConfigError(f"{what}: {key}: unknown key{suggestion(str(key))}")
            if key in _STAGES:
                continue
            if key in keys_with("not searched"):
                raise ConfigError(f"{what}: {key}: cannot be searched over: trials could not be compared, or resumed")
            if key in keys_with("encoders"):
                raise ConfigError(f"{what}: {key}: changes the encoders, which cases share; expected a line of its own")
        found[str(case)] = {str(key): value for key, value in keys.items()}
    return found


def with_case(config: Config, case: Mapping[str, object], where: str) -> Config:
    """The configuration of a case. Raises ConfigError where its images are of another size, or it cannot be trained."""
    values, pixels = dict(case), config.model.image_sizes[-1]
    refinements = values.get("model.refinements")
    if isinstance(refinements, int) and "model.base_size" not in values:
        values["model.base_size"] = pixels >> refinements
    chosen = with_values(config, values)
    if chosen.model.image_sizes[-1] != pixels:
        raise ConfigError(
            f"{where}: model.base_size={chosen.model.base_size} with model.refinements={chosen.model.refinements}: "
            f"gives images of {chosen.model.image_sizes[-1]} pixels, not {pixels} as the others"
        )
    architectures.get(chosen.model.architecture).check(chosen)
    return chosen
