"""k8s/overlays/serve: who reaches it, and that the application in its text starts and draws."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from cluster.serving.access import ServingError
from cluster.serving.application import Arguments
from cluster.serving.application import build as build_application
from dmgan.runs.run import Run
from tests.cluster.serving.service import TOKEN, pixels, service
from tests.k8s.manifests import ROOT, Object, build, deployed, one, ray_cluster_spec
from tests.k8s.test_manifests import allowed
from tests.k8s.validation import problems
from tests.ray_cluster import free_ports

OVERLAY = "overlays/serve"


def config() -> Any:
    return yaml.safe_load(one(build(OVERLAY), "RayService")["spec"]["serveConfigV2"])


def test_port_8000_is_for_the_ingress_and_the_operator() -> None:
    policies = [each for each in deployed(OVERLAY) if each["kind"] == "NetworkPolicy"]
    spec = ray_cluster_spec(build(OVERLAY))
    groups: list[Object] = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for labels in (group["template"]["metadata"]["labels"] for group in groups):
        ours = (policies, labels, 8000)
        assert allowed(*ours, "ingress-nginx", {"app.kubernetes.io/name": "ingress-nginx"})
        assert allowed(*ours, "kuberay-system", {"app.kubernetes.io/name": "kuberay-operator"})
        assert not allowed(*ours, "default", {}) and not allowed(*ours, "dmgan", {"app": "another"})
        for port in (6379, 8265, 10001, 8080):
            assert not allowed(policies, labels, port, "ingress-nginx", {})
    # Of other pods of the namespace nothing is opened.
    trained = ray_cluster_spec(build("overlays/gpu-8"))["headGroupSpec"]["template"]["metadata"]["labels"]
    assert not allowed(policies, trained, 8000, "ingress-nginx", {})


def test_the_ingress_leads_to_the_service_that_kuberay_makes() -> None:
    objects = build(OVERLAY)
    service_ = one(objects, "RayService")
    (rule,) = one(objects, "Ingress")["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == f"{service_['metadata']['name']}-serve-svc"
    port = config()["http_options"]["port"]
    assert backend["port"]["number"] == port and one(objects, "Ingress")["spec"]["tls"][0]["hosts"] == [rule["host"]]
    spec = service_["spec"]["rayClusterConfig"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert port in [each["containerPort"] for each in container["ports"]]
        (token,) = [each for each in container["env"] if each["name"] == "DMGAN_SERVE_TOKEN"]
        # Without the Secret no pod starts.
        assert token["valueFrom"] == {"secretKeyRef": {"name": "dmgan-serve", "key": "token"}}
    assert container["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": port}
    assert spec["gcsFaultToleranceOptions"]["redisAddress"] and service_["spec"]["excludeHeadPodFromServeSvc"]


def test_what_kuberay_would_refuse_is_found() -> None:
    service_ = one(build(OVERLAY), "RayService")
    assert not problems(service_)
    service_["spec"]["serveConfig"] = service_["spec"].pop("serveConfigV2")
    assert any("'serveConfig' was unexpected" in line for line in problems(service_))


def test_replicas_fit_into_the_pods() -> None:
    (application,) = config()["applications"]
    arguments = Arguments.model_validate(application["args"])
    assert not arguments.open
    settings = dict(setting.removeprefix("serve.").split("=") for setting in arguments.settings)
    (group,) = ray_cluster_spec(build(OVERLAY))["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    most = int(settings["max_replicas"])
    assert most * float(settings["gpus_per_replica"]) <= group["maxReplicas"] * int(limits["nvidia.com/gpu"])
    cores = most * float(settings["cpus_per_replica"]) + arguments.gateways * arguments.gateway_cpus
    assert cores <= group["maxReplicas"] * int(limits["cpu"])


def test_without_a_token_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DMGAN_SERVE_TOKEN", "DMGAN_SERVE_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ServingError, match="DMGAN_SERVE_TOKEN: not set, nor DMGAN_SERVE_TOKEN_FILE"):
        build_application(Arguments(names=["cub"]))


@pytest.mark.distributed
def test_the_application_of_the_manifest_draws(untrained: tuple[Run, list[str]], tmp_path: Path) -> None:
    """Its text, on this machine: another port, a run that is here, and no GPU."""
    shutil.copytree(untrained[0].url, tmp_path / "runs" / "cub")
    (port,) = free_ports(1)
    text = config()
    (application,) = text["applications"]
    assert application["args"]["names"] == ["cub"]
    text["http_options"] |= {"host": "127.0.0.1", "port": port}
    application["args"] |= {"gateway_cpus": 0.1}
    application["args"]["settings"] += ["serve.replicas=1", "serve.gpus_per_replica=0", "serve.cpus_per_replica=0.25"]
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(text))
    environment = {"DMGAN_STORAGE": str(tmp_path / "runs"), "DMGAN_SERVE_TOKEN": TOKEN, "RAY_AUTH_MODE": "disabled"}
    environment |= {"PYTHONPATH": str(ROOT), "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
    command = ["-m", "ray.serve.scripts", "run", "--address", "local", str(tmp_path / "serve.yaml")]
    with service(tmp_path, f"http://127.0.0.1:{port}", command, environment) as served:
        assert requests.get(f"{served.address}/v1/models", timeout=60).status_code == 401
        (card,) = served.get("/v1/models").json()["models"]
        assert card["name"] == "cub"
        answer = served.post(captions=["this bird is red"], accept="image/png")
        assert answer.status_code == 200 and pixels(answer.content).shape == (64, 64, 3)
