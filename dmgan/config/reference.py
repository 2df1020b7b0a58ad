"""The configuration described, from the models that declare it: a JSON Schema, a page, a commented YAML file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from datasets.documents import dump_yaml
from dmgan.config.keys import Section
from dmgan.config.load import SourcedConfig, load_config, presets
from dmgan.config.schema import Config, known_keys, roles_of, sections

__all__ = ["commented", "json_schema", "page", "records"]

_ROLES = {  # in words, for the page
    "network": "decides what the weights are: the same for every command on a run",
    "fixed": "decides how training goes: the same whenever it goes on",
    "live": "may be changed by `--from`, and by population-based training",
    "encoders": "pre-training depends on it",
    "scores": "scores depend on it",
    "not searched": "not for sweeps",
    "cap": "may change whenever a sweep goes on",
    "path": "a path: made absolute",
}
_COMMAND = "python -m dmgan.launch config"

_INTRODUCTION = (
    "`--config` takes a preset or a YAML file of the sections below, which may start from another one (`preset: cub`);",
    "`--set KEY=VALUE` sets a single key over it. An unknown key or a value that does not fit is refused in one line,",
    "which says where it stands and what was expected.",
)


def json_schema() -> dict[str, object]:
    """A JSON Schema (2020-12) of configuration files, for editors: all keys, and `preset`."""
    schema = Config.model_json_schema()
    for section in (schema, *schema["$defs"].values()):
        for declared in section["properties"].values():
            declared.pop("title", None)  # pydantic's: the name again
    properties: dict[str, object] = dict(schema["properties"])
    base = {
        "description": "what the file starts from: a preset or another file",
        "anyOf": [{"enum": presets()}, {"type": "string"}],
    }
    schema["properties"] = {"preset": base, **properties}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "dmgan configuration",
        "description": "A configuration of dmgan, as --config takes it; every key may be left out.",
    }


def records(sourced: SourcedConfig) -> list[dict[str, object]]:
    """Each key with its value, its source, its default, its description and its roles."""
    default, said = Config(), _descriptions()
    return [
        {
            "key": key,
            "value": sourced.config.value(key),
            "source": sourced.sources[key],
            "default": default.value(key),
            "description": said[key],
            "roles": sorted(roles_of(key)),
        }
        for key in known_keys()
    ]


def commented(sourced: SourcedConfig) -> str:
    """The configuration as YAML that can be used as a file, with each key's source and description beside it."""
    rows: list[tuple[str, str]] = []  # a line of YAML, what is said of it
    said, section = _descriptions(), ""
    for key in known_keys():
        outer, _, leaf = key.rpartition(".")
        if outer != section:
            rows.append((f"{outer}:", ""))
            section = outer
        value = sourced.config.value(key)
        shown = dump_yaml({leaf: list(value) if isinstance(value, tuple) else value}).rstrip("\n")
        if isinstance(value, tuple):
            shown = f"{leaf}: {json.dumps(value, ensure_ascii=False)}"
        rows.append(("  " * bool(outer) + shown, f"{sourced.sources[key]} — {said[key]}"))
    wide = min(44, max(len(line) for line, _ in rows))
    return "\n".join(f"{line:{wide}}  # {text}" if text else line for line, text in rows) + "\n"


def page() -> str:
    """docs/configuration.md."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield "# Configuration"
    yield ""
    yield f"Made by `{_COMMAND} docs > docs/configuration.md` from `dmgan/config/`, where every key is declared."
    yield ""
    yield from _INTRODUCTION
    yield ""
    yield f"    {_COMMAND} show --config cub --set train.workers=8     every key: value, source, meaning"
    yield f"    {_COMMAND} schema > dmgan.schema.json                  for editors: completion and checks as you type"
    yield ""
    yield "An editor with YAML support uses the schema where a file begins with"
    yield "`# yaml-language-server: $schema=dmgan.schema.json`."
    yield ""
    yield "The last column of the tables says what else is known of a key:"
    yield ""
    for role, text in _ROLES.items():
        yield f"- *{role}*: {text}"
    listed: dict[str, type[Section]] = {"": Config, **sections()}
    for name, section in listed.items():
        yield from _table(name, section)
    yield from _preset_table()


def _table(name: str, section: type[Section]) -> Iterator[str]:
    yield ""
    yield f"## {name}" if name else "## Beside the sections"
    yield ""
    yield (section.__doc__ or "").strip() if name else "Keys of no section."
    yield ""
    yield "| key | values | default | meaning | roles |"
    yield "|---|---|---|---|---|"
    schema = Config.model_json_schema()
    found = schema if section is Config else schema["$defs"][section.__name__]
    default = Config()
    for key in known_keys():
        outer, _, leaf = key.rpartition(".")
        if outer == name:
            kind = _values(found["properties"][leaf], schema["$defs"])
            roles = ", ".join(f"*{role}*" for role in _ROLES if role in roles_of(key))
            shown = json.dumps(default.value(key), ensure_ascii=False)
            yield f"| `{key}` | {kind} | `{shown}` | {_cell(_descriptions()[key])} | {roles} |"


def _preset_table() -> Iterator[str]:
    known = {name: load_config(name) for name in presets()}
    default = Config()
    yield ""
    yield "## Presets"
    yield ""
    yield "What the presets set to something else than the default (files in `dmgan/config/presets/`)."
    yield ""
    yield f"| key | {' | '.join(f'`{name}`' for name in known)} |"
    yield "|---|" + "---|" * len(known)
    for key in known_keys():
        values = [config.value(key) for config in known.values()]
        if any(value != default.value(key) for value in values):
            cells = [f"`{json.dumps(value)}`" if value != default.value(key) else "" for value in values]
            yield f"| `{key}` | {' | '.join(cells)} |"
    yield ""


def _values(field: Mapping[str, object], definitions: Mapping[str, object]) -> str:
    """What a key takes, in words, from its JSON Schema."""
    if isinstance(options := field.get("anyOf"), list):
        return " or ".join(_values(option, definitions) for option in options)
    if isinstance(listed := field.get("enum"), list):
        return ", ".join(f"`{value}`" for value in listed)
    if "const" in field:
        return f"`{field['const']}`"
    names = {"integer": "integer", "number": "number", "string": "text", "boolean": "`true`, `false`", "null": "`null`"}
    if field.get("type") == "array":
        return "list"
    word = names[str(field["type"])]
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {field[limit]}" for limit, sign in limits.items() if isinstance(field.get(limit), int | float)]
    return " ".join([word, ", ".join(said)]).strip()


def _descriptions() -> dict[str, str]:
    said = {key: str(Config.model_fields[key].description) for key in known_keys() if "." not in key}
    for name, section in sections().items():
        said |= {f"{name}.{leaf}": str(field.description) for leaf, field in section.model_fields.items()}
    return said


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
