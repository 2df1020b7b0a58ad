"""k8s/compose.yaml, held to the schema of the Compose specification and to what Kubernetes runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from dmgan import __version__

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "k8s" / "compose.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """As Compose sees it, with its required variables set."""
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "set", TEXT)
    found: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    assert "${" not in re.sub(r"#.*", "", text.replace("${DATA:-../data}", ""))
    return found


def test_it_is_a_compose_file(compose: dict[str, Any]) -> None:
    schema = get_builtin_schema("vendor.compose-spec")
    jsonschema.validate(compose, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(compose | {"services": {"s3": {"imgae": "x"}}}, schema)
    assert set(compose["services"]) == {"s3", "head", "worker", "tensorboard"}


def test_what_is_named_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for needed in service.get("depends_on", {}):
            assert "healthcheck" in services[needed]
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source.startswith("..") or source in compose["volumes"]
        if "build" in service:
            folder = (ROOT / "k8s" / service["build"]["context"]).resolve()
            assert (folder / service["build"]["dockerfile"]).is_file() and folder == ROOT


def test_images_are_those_of_kubernetes(compose: dict[str, Any]) -> None:
    services = compose["services"]
    dockerfile = (ROOT / "k8s" / "Dockerfile").read_text(encoding="utf-8")
    ray = re.search(r"ARG RAY_VERSION=(\S+)", dockerfile)
    assert ray is not None
    for name in ("head", "worker", "tensorboard"):
        assert services[name]["image"] == f"dmgan:{__version__}-ray{ray.group(1)}-cpu"
        assert f"-t {services[name]['image']} " in dockerfile
        assert set(services[name]["build"]["args"]) <= set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))
    _, stateful, *_ = yaml.safe_load_all((ROOT / "k8s" / "s3" / "seaweedfs.yaml").read_text(encoding="utf-8"))
    container = stateful["spec"]["template"]["spec"]["containers"][0]
    assert services["s3"]["image"] == container["image"]
    assert services["s3"]["entrypoint"] == container["command"] and services["s3"]["command"] == container["args"]


def test_nothing_is_open_to_the_network_and_no_key_is_in_the_file(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        for name, value in service.get("environment", {}).items():
            assert value == "set" or not re.search("KEY|SECRET|TOKEN$", name)
