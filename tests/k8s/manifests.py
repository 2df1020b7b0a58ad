"""The manifests as `kubectl apply -k` would send them, and what is in them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(
    str(path.parent.relative_to(ROOT / "k8s"))
    for path in (ROOT / "k8s").rglob("kustomization.yaml")
    if "kind: Component" not in path.read_text() and path.parent.name != "base"
)
SERVICES = ["overlays/serve"]
JOBS = [name for name in OVERLAYS if name.startswith("overlays/") and name.count("/") == 1 and name not in SERVICES]
CLUSTERS = [name for name in OVERLAYS if name.endswith("/cluster")]

Object = dict[str, Any]

# Where a kind has the specification of its Ray cluster.
_CLUSTER_OF = {"RayCluster": "", "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}


@cache
def _built(overlay: str) -> str:
    kubectl = Path(sys.executable).parent / "kubectl"
    done = subprocess.run([kubectl, "kustomize", ROOT / "k8s" / overlay], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{overlay}: {done.stderr}"
    return done.stdout


def build(overlay: str) -> list[Object]:
    """The objects of an overlay."""
    return [each for each in yaml.load_all(_built(overlay), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if each]


def deployed(overlay: str) -> list[Object]:
    """Its objects with those that are applied once, before it."""
    return [*build(overlay), *build("shared"), *build("s3"), *build("redis")]


def one(objects: list[Object], kind: str) -> Object:
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def named(each: Object) -> str:
    return f"{each['kind']}/{each['metadata']['name']}"


def ray_cluster_spec(objects: list[Object]) -> Object:
    for each in objects:
        if each["kind"] in _CLUSTER_OF:
            spec: Object = each["spec"]
            name = _CLUSTER_OF[each["kind"]]
            return spec[name] if name else spec
    raise AssertionError(f"none of {', '.join(_CLUSTER_OF)}")


def pod_templates(value: Any, path: str = "") -> Iterator[tuple[str, Object]]:
    """Every pod template in an object, wherever it is, with its path."""
    if isinstance(value, dict):
        if "containers" in value.get("spec", {}) and path:
            yield path, value
            return
        for key, part in value.items():
            yield from pod_templates(part, f"{path}.{key}")
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from pod_templates(part, f"{path}[{i}]")


def containers(each: Object) -> Iterator[tuple[str, Object]]:
    """Every container, with its path; also the autoscaler, which KubeRay makes of its options."""
    for path, template in pod_templates(each):
        for kind in ("containers", "initContainers"):
            for container in template["spec"].get(kind, ()):
                yield f"{named(each)}{path}.{container['name']}", container
    if each["kind"] in _CLUSTER_OF and (options := ray_cluster_spec([each]).get("autoscalerOptions")):
        yield f"{named(each)}.autoscaler", options


def amount(quantity: str | int) -> float:
    """A Kubernetes quantity as a number: "500m" is 0.5, "2Gi" is 2³¹."""
    text = str(quantity)
    for suffix, factor in {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)
