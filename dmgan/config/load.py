"""Reading configurations: presets, YAML files and KEY=VALUE overrides, refused with one line where they are wrong.

`load_config("cub", ["objective.lambda_damsm=50"])` reads a preset or YAML file and applies overrides.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from datasets.documents import parse_yaml, short
from dmgan.config.layers import AUTO, ConfigError, Layers, Origin, draw_at_own_url, presets, read_layers
from dmgan.config.schema import Config, keys_with, known_keys

__all__ = [
    "AUTO",
    "ConfigError",
    "SourcedConfig",
    "absolute_paths",
    "load_chosen",
    "load_config",
    "load_sourced",
    "parse_config",
    "presets",
    "suggestion",
    "with_values",
]

DEFAULT_PRESET = "quickstart"


@dataclass(frozen=True)
class SourcedConfig:
    """A configuration, and where each key's value stands: `default`, a preset, FILE:LINE, a flag."""

    config: Config
    sources: dict[str, str]  # of every key
    notes: tuple[str, ...] = ()  # what people are to know of how it came about, a line each


def load_config(name_or_path: str | Path | Config | None = None, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a preset, a YAML file (a path or s3://) or another one, with KEY=VALUE overrides.

    Raises ConfigError.
    """
    return load_sourced(name_or_path, overrides).config


def load_sourced(
    name_or_path: str | Path | Config | None = None,
    overrides: Iterable[str] = (),
    flags: Mapping[str, tuple[str, object]] | None = None,
    called: str = "run.yaml",
) -> SourcedConfig:
    """As `load_config`, with the sources; `flags` are values of keys that other flags stand for, by key.

    `called` is what the sources call a configuration that is given as such. Raises ConfigError.
    """
    if isinstance(name_or_path, Config):
        layers = Layers()
        layers.put(name_or_path.model_dump(), Origin(called))
    else:
        layers = read_layers(name_or_path or DEFAULT_PRESET)
    return _with_flags(layers, overrides, flags)


def load_chosen(
    preset: str,
    reason: str,
    values: Mapping[str, tuple[object, str]],
    overrides: Iterable[str],
    flags: Mapping[str, tuple[str, object]],
) -> SourcedConfig:
    """A preset that was chosen for a `reason`, over it `values` of keys with theirs, over these what was asked for.

    Notes say what was chosen and stands. Raises ConfigError.
    """
    layers = read_layers(preset)
    for key, (value, why) in values.items():
        layers.assign(key, value, Origin(f"{AUTO}: {why}"))
    found = _with_flags(layers, overrides, flags)
    stands = [key for key in values if found.sources[key].startswith(f"{AUTO}: ")]
    notes = [f"{key}={_shown(found.config.value(key))}: {values[key][1]}" for key in stands]
    return SourcedConfig(found.config, found.sources, (f"preset {preset}: {reason}", *notes))


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _with_flags(
    layers: Layers, overrides: Iterable[str], flags: Mapping[str, tuple[str, object]] | None
) -> SourcedConfig:
    """The configuration of layers, --set and flags. Raises ConfigError."""
    url, asked = layers.value("data", "url"), False
    for assignment in overrides:
        key, value = _assignment(assignment)
        layers.assign(key, value, Origin("--set"))
        asked = asked or key == "data.draw_birds"
    for key, (flag, value) in (flags or {}).items():
        layers.assign(key, value, Origin(flag))
    draw_at_own_url(layers, url, asked=asked)
    config = parse_config(layers.tree, layers.origins)
    return SourcedConfig(config, {key: str(layers.origins.get(key, "default")) for key in known_keys()})


def _assignment(text: str) -> tuple[str, object]:
    """Key and value of KEY=VALUE. Raises ConfigError."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {short(text)}: expected KEY=VALUE, such as objective.lambda_damsm=50")
    if key not in known_keys() and key not in Config.model_fields:
        raise ConfigError(f"{key}: unknown key{suggestion(key)}")
    if not value.strip():
        raise ConfigError(f"--set {text}: no value; expected KEY=VALUE, and null for none")
    return key, parse_yaml(value, f"--set {short(text)}", ConfigError)


def parse_config(tree: object, origins: Mapping[str, Origin] | None = None) -> Config:
    """The configuration of parsed YAML. Raises ConfigError, which begins with the line where `origins` know it."""
    origins = origins or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"expected sections such as 'train:', found {type(tree).__name__}")
    for key in _unknown_keys(tree):
        raise ConfigError(f"{_prefix(key, origins)}{key}: unknown key{suggestion(key)}")
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        message = _first_line(error)
        named = re.match(r"[\w.]+", message)
        raise ConfigError(f"{_prefix(named.group() if named else '', origins)}{message}") from error


def _prefix(key: str, origins: Mapping[str, Origin]) -> str:
    """Where the key's value stands, or that of which it is a part."""
    while key and key not in origins:
        key = key.rpartition(".")[0]
    return origins[key].prefix if key else ""


def with_values(config: Config, values: Mapping[str, object]) -> Config:
    """The configuration with other values of some keys, by section.key. Raises ConfigError."""
    layers = Layers(config.model_dump())
    for key, value in values.items():
        layers.assign(key, value, Origin("given"))
    return parse_config(layers.tree)


def absolute_paths(config: Config) -> Config:
    """The configuration with every path absolute, and the captions of a file in place of it.

    Ray's workers have other working directories, and other files. Raises ConfigError.
    """
    from datasets import storage

    paths = {key: path for key in keys_with("path") if isinstance(path := config.value(key), str) and path}
    if str(config.evaluate.judge).isdigit():  # a seed
        del paths["evaluate.judge"]
    values: dict[str, object] = {key: storage.absolute(path) for key, path in paths.items()}
    if isinstance(file := config.samples.captions, str):
        values["samples.captions"] = _captions(values["samples.captions"], file)
    return with_values(config, values)


def _captions(url: object, given: str) -> list[str]:
    """The lines of a file of captions. Raises ConfigError."""
    from datasets import storage

    where = f"samples.captions={given}"
    if not storage.exists(str(url)):
        raise ConfigError(f"{where}: not found; expected a file of one caption a line, or a list")
    try:
        text = storage.read_bytes(str(url)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not UTF-8 at byte {error.start}") from None
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise ConfigError(f"{where}: holds no captions")
    return found


def _unknown_keys(tree: dict[str, object]) -> Iterator[str]:
    known = known_keys()
    for section, values in tree.items():
        if section not in Config.model_fields:
            yield str(section)
        elif isinstance(values, dict):
            yield from (f"{section}.{key}" for key in values if f"{section}.{key}" not in known)


def suggestion(key: str) -> str:
    """What an unknown key was perhaps to be, to end a message with: all keys of that name, the nearest first."""
    known, (section, _, leaf) = known_keys(), key.rpartition(".")
    named = [k for k in known if k.rpartition(".")[2] == leaf or k.endswith(f"_{leaf}")]
    near = sorted(named, key=lambda k: -difflib.SequenceMatcher(None, k.rpartition(".")[0], section).ratio())
    near = near or difflib.get_close_matches(key, [*known, *Config.model_fields], n=1)
    return f"; did you mean {' or '.join(near[:5])}?" if near else ""


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error" and isinstance(first["input"], dict):  # of a section as a whole
        return f"{key}.{message}"
    expected = message[0].lower() + message[1:]
    return f"{key}={short(repr(first['input']))}: {expected}"
