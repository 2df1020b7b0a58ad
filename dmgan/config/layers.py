"""What a configuration is made of: layers of values (presets, a file, flags), and where each value stands.

Presets and files are trees of sections; a file may name the one it starts from: `preset: cub`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasets.documents import exists, parse_yaml_with_lines, read_text, short
from datasets.errors import UserError

__all__ = ["AUTO", "ConfigError", "Layers", "Origin", "presets", "read_layers"]

AUTO = "auto"  # in place of a preset, what `dmgan.cli.automatic` chooses

_PRESETS = Path(__file__).parent / "presets"
_DEEPEST = 10  # presets that start from one another


class ConfigError(UserError):
    """A configuration that cannot be used; one line that names the key, its value and what was expected."""


@dataclass(frozen=True)
class Origin:
    """Where a value stands: a preset, a flag, or a line of a file."""

    where: str
    line: int | None = None  # of a file

    def __str__(self) -> str:
        return self.where if self.line is None else f"{self.where}:{self.line}"

    @property
    def prefix(self) -> str:
        """What a message about a value begins with: the line of a file; a flag is named by its own message."""
        return "" if self.line is None else f"{self.where}, line {self.line}: "


@dataclass
class Layers:
    """The values so far, and the origin of each key and section that somebody set."""

    tree: dict[str, object] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)

    def put(self, tree: Mapping[str, object], origin: Origin, lines: Mapping[str, int] | None = None) -> None:
        """Lay a tree over what is there: sections are merged, values replaced."""
        self.tree = _merge(self.tree, tree)
        for key in _keys(tree):
            line = (lines or {}).get(key)
            self.origins[key] = Origin(origin.where, line)

    def assign(self, key: str, value: object, origin: Origin) -> None:
        """Set one key, `section.key`, or the keys of a section that a mapping names. Raises ConfigError."""
        *outer, leaf = key.split(".")
        inside: object = self.tree
        for section in outer:
            inside = inside.get(section, {}) if isinstance(inside, dict) else None
            if not isinstance(inside, dict):
                raise ConfigError(f"{key}: {section} is a value, not a section")
        nested: dict[str, object] = {leaf: value}
        for section in reversed(outer):
            nested = {section: nested}
        self.put(nested, origin)

    def value(self, section: str, leaf: str) -> object:
        inside = self.tree.get(section)
        return inside.get(leaf) if isinstance(inside, dict) else None


def presets() -> list[str]:
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def read_layers(name_or_path: str | Path, depth: int = 0) -> Layers:
    """The layers of a preset or YAML file (a path or s3://), below it what it starts from. Raises ConfigError."""
    if not isinstance(name_or_path, str | Path):
        raise ConfigError(f"preset: expected a name or a file, found {short(repr(name_or_path))}")
    if depth > _DEEPEST:
        raise ConfigError(f"preset: {name_or_path}: presets start from one another without end")
    where, tree, lines = _document(str(name_or_path))
    base = tree.pop("preset", None)
    if base is None:
        layers = Layers()
    elif isinstance(base, str):
        layers = read_layers(base, depth + 1)
    else:
        raise ConfigError(f"preset: expected a name or a file, found {short(repr(base))}")
    url = layers.value("data", "url")
    layers.put(tree, Origin(where), lines)
    draw_at_own_url(layers, url, asked=_asked_to_draw(tree) or base is None)
    return layers


def draw_at_own_url(layers: Layers, own: object, *, asked: bool) -> None:
    """Birds are drawn where the preset says, not at another URL, which may be mistyped, unless that is `asked` for."""
    url = layers.value("data", "url")
    if layers.value("data", "draw_birds") and not asked and url != own:
        layers.assign("data.draw_birds", False, Origin("data.url is another than the preset's"))


def _asked_to_draw(tree: Mapping[str, object]) -> bool:
    data = tree.get("data")
    return isinstance(data, dict) and "draw_birds" in data


def _document(name: str) -> tuple[str, dict[str, object], dict[str, int]]:
    """What a preset or file is called, its values and, of a file, their lines."""
    if name in presets():
        path = _PRESETS / f"{name}.yaml"
        tree, _ = parse_yaml_with_lines(read_text(path, error_type=ConfigError), str(path), ConfigError)
        return f"preset {name}", _sections(tree, str(path)), {}
    if name == AUTO:
        raise ConfigError(f"--config {AUTO}: is for commands of dmgan.launch alone; expected a preset or a file")
    if "://" in name:
        from datasets import storage  # with it comes what reaches buckets, which few configurations need

        text: str | bytes = storage.read_bytes(name)
    elif exists(Path(name)):
        text = read_text(Path(name), error_type=ConfigError)
    else:
        raise ConfigError(f"--config {name}: neither a preset ({', '.join(presets())}) nor a file")
    tree, lines = parse_yaml_with_lines(text, name, ConfigError)
    return name, _sections(tree, name), lines


def _sections(tree: object, where: str) -> dict[str, object]:
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{where}: expected sections such as 'train:', found {type(tree).__name__}")
    return tree or {}


def _merge(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _keys(tree: Mapping[str, object], outer: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield f"{outer}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{outer}{key}.")
