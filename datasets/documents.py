"""YAML and text that people write: read as UTF-8 and YAML 1.2, bounded, and refused in one line.

YAML is read without what makes it dangerous or surprising: no aliases (a few hundred bytes of them can name billions
of values), no duplicate keys, no dates, no 1.1 booleans and sexagesimals (`yes`, `1:30` and `2024-02-30` are texts,
`010` is ten, `1e-5` is a number).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from math import isfinite
from pathlib import Path

import yaml
from pydantic import ValidationError
from yaml import Node
from yaml.constructor import ConstructorError

from datasets.errors import UserError

__all__ = [
    "DocumentError",
    "dump_yaml",
    "exists",
    "first_problem",
    "parse_yaml",
    "parse_yaml_with_lines",
    "read_text",
    "short",
]

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 20
_MAX_INTEGER = 1 << 63
_SHOWN = 80  # characters of a value in a message

_SCALARS = {
    "tag:yaml.org,2002:null": (re.compile(r"^(?:~|null|Null|NULL|)$"), "~nN\0"),
    "tag:yaml.org,2002:bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    "tag:yaml.org,2002:int": (re.compile(r"^(?:[-+]?[0-9]+|0x[0-9a-fA-F]+)$"), "-+0123456789"),
    "tag:yaml.org,2002:float": (
        re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
        "-+.0123456789",
    ),
}


class DocumentError(UserError):
    """A text or YAML that cannot be used; one line."""


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, (pattern, first) in _SCALARS.items():
        for character in first:
            found.setdefault("" if character == "\0" else character, []).append((tag, pattern))
    return found


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _resolvers()

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ConstructorError(None, None, "anchors and aliases are not read", event.start_mark)
        if getattr(event, "tag", None):
            raise ConstructorError(None, None, f"tags such as {short(event.tag)} are not read", event.start_mark)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ConstructorError(None, None, f"nested deeper than {_MAX_DEPTH} levels", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def map_of(self, node: yaml.MappingNode) -> dict[Hashable, object]:
        found: dict[Hashable, object] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise ConstructorError(None, None, "expected a name as key", key_node.start_mark)
            if key in found:
                raise ConstructorError(None, None, f"{short(key)} is there twice", key_node.start_mark)
            found[key] = self.construct_object(value_node, deep=True)
        return found

    def list_of(self, node: yaml.SequenceNode) -> list[object]:
        return [self.construct_object(child, deep=True) for child in node.value]

    def text_of(self, node: yaml.ScalarNode) -> str:
        text = str(node.value)
        if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
            raise ConstructorError(None, None, "holds characters that are no text", node.start_mark)
        return text

    def integer_of(self, node: yaml.ScalarNode) -> int:
        number = int(node.value, 16 if node.value.lower().startswith("0x") else 10)
        if abs(number) >= _MAX_INTEGER:
            raise ConstructorError(None, None, f"{short(node.value)} is too large", node.start_mark)
        return number

    def number_of(self, node: yaml.ScalarNode) -> float:
        if not isfinite(number := float(node.value)):
            raise ConstructorError(None, None, f"{short(node.value)} is too large", node.start_mark)
        return number

    def truth_of(self, node: yaml.ScalarNode) -> bool:
        if str(node.value).lower() not in ("true", "false"):
            raise ConstructorError(None, None, f"{short(node.value)}: expected true or false", node.start_mark)
        return str(node.value).lower() == "true"

    def nothing_of(self, node: yaml.ScalarNode) -> None:
        return None


_Loader.yaml_multi_constructors = {}
_Loader.yaml_constructors = {
    "tag:yaml.org,2002:map": _Loader.map_of,
    "tag:yaml.org,2002:seq": _Loader.list_of,
    "tag:yaml.org,2002:str": _Loader.text_of,
    "tag:yaml.org,2002:int": _Loader.integer_of,
    "tag:yaml.org,2002:float": _Loader.number_of,
    "tag:yaml.org,2002:bool": _Loader.truth_of,
    "tag:yaml.org,2002:null": _Loader.nothing_of,
}


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that `_Loader` would read as something else, and writes no aliases."""

    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: object) -> bool:
        return True


def parse_yaml(text: str | bytes, where: str, error_type: type[UserError] = DocumentError) -> object:
    """The value of a YAML document; None of an empty one. Raises `error_type`, which begins with `where`."""
    return parse_yaml_with_lines(text, where, error_type)[0]


def parse_yaml_with_lines(
    text: str | bytes, where: str, error_type: type[UserError] = DocumentError
) -> tuple[object, dict[str, int]]:
    """As `parse_yaml`, and the line of each key of a mapping within mappings, as `outer.inner`."""
    try:
        if len(text) > _MAX_BYTES:
            raise error_type(f"{where}: larger than {_MAX_BYTES} bytes; expected a short YAML file")
        decoded = text.decode() if isinstance(text, bytes) else text
        loader = _Loader(decoded.removeprefix("\ufeff"))
        try:
            node = loader.get_single_node()
            return (None, {}) if node is None else (loader.construct_document(node), dict(_lines(node)))
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise error_type(f"{where}{_place(error)}: not readable as YAML: {_problem(error)}") from None
    except (ValueError, TypeError, RecursionError) as error:  # numbers of thousands of digits, bytes that are no text
        raise error_type(f"{where}: not readable as YAML: {_one_line(str(error))}") from None


def _lines(node: Node, outer: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{outer}{key.value}"
            yield name, key.start_mark.line + 1
            yield from _lines(value, f"{name}.")


def dump_yaml(value: object) -> str:
    """YAML that `parse_yaml` reads as the same value, keys in their order."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def read_text(path: Path, where: str = "", error_type: type[UserError] = DocumentError) -> str:
    """A text file in UTF-8. Raises `error_type`, which begins with `where` (such as `--config `) and the path."""
    try:
        if path.exists() and not path.is_file():  # a pipe or a device would be waited for
            raise error_type(f"{where}{path}: not a file")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise error_type(f"{where}{path}: not found") from None
    except UnicodeDecodeError as error:
        raise error_type(f"{where}{path}: not UTF-8 at byte {error.start}") from None
    except (OSError, ValueError) as error:
        raise error_type(f"{where}{path}: cannot be read: {_one_line(str(error))}") from None


def exists(path: Path) -> bool:
    """Whether there is anything; not of a name that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def first_problem(error: ValidationError) -> str:
    """Where a file's content is first not what was expected, and what that was."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"


def short(value: object) -> str:
    """A value for a message, cut where it is long."""
    text = value if isinstance(value, str) else repr(value)
    text = _one_line(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark is not None else ""


def _problem(error: yaml.YAMLError) -> str:
    return _one_line(getattr(error, "problem", None) or getattr(error, "reason", None) or str(error))


def _one_line(text: str) -> str:
    return " ".join(text.encode("utf-8", "replace").decode().split())[:200]
