"""Validation as strict as `kubectl apply --validate=strict`, without an API server.

Kubernetes' kinds and every pod template by kubernetes-validate; custom resources by the schemas of their CRDs, unknown
fields refused, defaults applied and CEL rules evaluated as the API server does at creation.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cel
import kubernetes_validate
from jsonschema import Draft7Validator

from tests.k8s.manifests import Object, pod_templates

KUBERNETES = "1.34"
_SCHEMAS = Path(__file__).parent / "schemas"
_NOT_JSON_SCHEMA = ("description", "default", "nullable", "format")


def problems(each: Object) -> list[str]:
    """What the API server would refuse, a line each."""
    schema = _custom(each["apiVersion"], each["kind"])
    if schema is None:
        return _core(each)
    each = copy.deepcopy(each)
    _default(schema, each)
    found = [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in _validator(schema).iter_errors(each)]
    found += _broken_rules(schema, each, "")
    for path, template in pod_templates(each.get("spec", {})):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": template["spec"]}
        found += [f"{path}: {problem}" for problem in _core(pod)]
    return found


def _core(each: Object) -> list[str]:
    try:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    return []


@cache
def _schema(name: str) -> Object | None:
    file = _SCHEMAS / name
    return json.loads(file.read_text()) if file.exists() else None


def _custom(api_version: str, kind: str) -> Object | None:
    """None for a kind of Kubernetes itself; anything else must have its schema here."""
    group, _, version = api_version.partition("/")
    if not version or "." not in group or (group.endswith(".k8s.io") and not group.startswith("kueue.")):
        return None
    schema = _schema(f"{kind.lower()}_{group}_{version}.json")
    assert schema is not None, f"{api_version} {kind}: no schema in {_SCHEMAS}"
    return schema


def _validator(schema: Object) -> Draft7Validator:
    strict = _as_json_schema(schema)
    strict["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    return Draft7Validator(strict)


def _as_json_schema(schema: Any, strict: bool = True) -> Any:
    """A structural schema of Kubernetes as JSON Schema; `strict` refuses fields it does not know."""
    if not isinstance(schema, dict):
        return schema
    made: Object = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties"):
            made[key] = {name: _as_json_schema(part) for name, part in value.items()}
        elif key in ("items", "not", "additionalProperties"):
            made[key] = _as_json_schema(value)
        elif key in ("allOf", "anyOf", "oneOf"):  # these speak of fields that are defined beside them
            made[key] = [_as_json_schema(part, strict=False) for part in value]
        elif key not in _NOT_JSON_SCHEMA and not key.startswith("x-kubernetes"):
            made[key] = value
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if strict and "properties" in schema and not open_ended:
        made["additionalProperties"] = False
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    return made


def _default(schema: Object, value: Any) -> None:
    """Apply defaults and drop what is null and may not be, in place."""
    if isinstance(value, dict):
        for key, part in schema.get("properties", {}).items():
            if key in value and value[key] is None and not part.get("nullable"):
                del value[key]
            if key not in value and "default" in part:
                value[key] = copy.deepcopy(part["default"])
            if key in value:
                _default(part, value[key])
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for part in value:
            _default(schema["items"], part)


def _broken_rules(schema: Object, value: Any, path: str) -> Iterator[str]:
    """CEL rules that do not hold, and lists whose keys are not unique."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"] and not cel.evaluate(rule["rule"], {"self": value}):
            yield f"{path}: {rule.get('message', rule['rule'])}"
    if isinstance(value, dict):
        for key, part in value.items():
            below = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(below, dict):
                yield from _broken_rules(below, part, f"{path}.{key}")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        if schema.get("x-kubernetes-list-type") == "map":
            keys = [tuple(part.get(key) for key in schema["x-kubernetes-list-map-keys"]) for part in value]
            if len(set(keys)) < len(keys):
                yield f"{path}: two entries of the same key"
        for i, part in enumerate(value):
            yield from _broken_rules(schema["items"], part, f"{path}[{i}]")
