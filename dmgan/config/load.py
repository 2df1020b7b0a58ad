"""Reading configurations: presets, YAML files and KEY=VALUE overrides, refused with one line where they are wrong.

`load_config("cub", ["objective.lambda_damsm=50"])` reads a preset or YAML file and applies overrides. A file may name
the preset it starts from: `preset: cub`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from datasets.documents import exists, parse_yaml, read_text, short
from datasets.errors import UserError
from dmgan.config.schema import Config, keys_with, known_keys

__all__ = ["ConfigError", "absolute_paths", "load_config", "parse_config", "presets", "suggestion", "with_values"]

DEFAULT_PRESET = "quickstart"
_PRESETS = Path(__file__).parent / "presets"


class ConfigError(UserError):
    """A configuration that cannot be used; one line that names the key, its value and what was expected."""


def presets() -> list[str]:
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def load_config(name_or_path: str | Path | Config | None = None, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a preset, a YAML file (a path or s3://) or another one, with KEY=VALUE overrides.

    Raises ConfigError.
    """
    tree = name_or_path.model_dump() if isinstance(name_or_path, Config) else _read(name_or_path or DEFAULT_PRESET)
    url, assigned = _url(tree), set[str]()
    for assignment in overrides:
        key, separator, value = assignment.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {short(assignment)}: expected KEY=VALUE, such as objective.lambda_damsm=50")
        if key not in known_keys() and key not in Config.model_fields:
            raise ConfigError(f"{key}: unknown key{suggestion(key)}")
        if not value.strip():
            raise ConfigError(f"--set {assignment}: no value; expected KEY=VALUE, and null for none")
        _assign(tree, key, parse_yaml(value, f"--set {short(assignment)}", ConfigError))
        assigned.add(key)
    _draw_at_own_url(tree, url, "data.draw_birds" in assigned)
    return parse_config(tree)


def _url(tree: dict[str, object]) -> object:
    data = tree.get("data")
    return data.get("url") if isinstance(data, dict) else None


def _draw_at_own_url(tree: dict[str, object], own: object, asked: bool) -> None:
    """Birds are drawn where the preset says, not at another URL, which may be mistyped, unless that is `asked` for."""
    data = tree.get("data")
    if isinstance(data, dict) and data.get("draw_birds") and not asked and data.get("url") != own:
        data["draw_birds"] = False


def parse_config(tree: object) -> Config:
    """The configuration of parsed YAML. Raises ConfigError."""
    if not isinstance(tree, dict):
        raise ConfigError(f"expected sections such as 'train:', found {type(tree).__name__}")
    for key in _unknown_keys(tree):
        raise ConfigError(f"{key}: unknown key{suggestion(key)}")
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_first_line(error)) from error


def _read(name_or_path: str | Path, depth: int = 0) -> dict[str, object]:
    if not isinstance(name_or_path, str | Path):
        raise ConfigError(f"preset: expected a name or a file, found {short(repr(name_or_path))}")
    if depth > 10:
        raise ConfigError(f"preset: {name_or_path}: presets start from one another without end")
    path = _PRESETS / f"{name_or_path}.yaml"
    if str(name_or_path) not in presets():
        path = Path(name_or_path)
        if "://" not in str(name_or_path) and not exists(path):
            raise ConfigError(f"--config {name_or_path}: neither a preset ({', '.join(presets())}) nor a file")
    remote = "://" in str(name_or_path)
    text = _remote(str(name_or_path)) if remote else read_text(path, error_type=ConfigError)
    tree = parse_yaml(text, str(name_or_path if remote else path), ConfigError)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections such as 'train:', found {type(tree).__name__}")
    base = tree.pop("preset", None)
    if base is None:
        return tree
    merged = _merge(whole := _read(base, depth + 1), tree)
    data = tree.get("data")
    _draw_at_own_url(merged, _url(whole), isinstance(data, dict) and "draw_birds" in data)
    return merged


def _remote(url: str) -> bytes:
    from datasets import storage  # with it comes what reaches buckets, which few configurations need

    return storage.read_bytes(url)


def with_values(config: Config, values: Mapping[str, object]) -> Config:
    """The configuration with other values of some keys, by section.key. Raises ConfigError."""
    tree = config.model_dump()
    for key, value in values.items():
        _assign(tree, key, value)
    return parse_config(tree)


def absolute_paths(config: Config) -> Config:
    """The configuration with every path absolute: Ray's workers have other working directories."""
    from datasets import storage

    paths = {key: config.value(key) for key in keys_with("path")}
    if str(paths["evaluate.judge"]).isdigit():  # a seed
        del paths["evaluate.judge"]
    return with_values(config, {key: storage.absolute(str(path)) for key, path in paths.items() if path})


def _merge(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _assign(tree: dict[str, object], key: str, value: object) -> None:
    *sections, leaf = key.split(".")
    for section in sections:
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{key}: {section} is a value, not a section")
        tree = inner
    before = tree.get(leaf)
    # A section's keys that are not named keep their values.
    tree[leaf] = _merge(before, value) if isinstance(before, dict) and isinstance(value, dict) else value


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
