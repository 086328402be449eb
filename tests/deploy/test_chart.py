"""Tests the Helm chart with Helm's own engine, and its objects against the schemas of Kubernetes."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import SECRETS, Settings
from tests.conftest import REPO

helm = pytest.importorskip("helm_python", reason="no Helm: pip install -r requirements/helm.lock")

CHART = REPO / "deploy" / "helm" / "halflight"
MANY = {
    "replicas": 3,
    "database": {"kind": "postgresql"},
    "secret": "halflight",
    "persistence": {"enabled": False},
}
EVERYTHING = {
    **MANY,
    "workers": 4,
    "autoscaling": {"enabled": True},
    "ingress": {"enabled": True, "host": "faces.example", "tlsSecret": "tls", "className": "nginx"},
    "trustedProxies": ["10.1.0.0/16", "10.2.0.7"],
    "settings": {"log_level": "debug", "max_work_pixels": 64000000, "keep_crops": False},
    "image": {"pullSecrets": ["registry"], "digest": "sha256:" + "0" * 64},
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}],
        "egress": [{"ports": [{"port": 443}]}],
    },
    "metrics": {"serviceMonitor": True, "from": [{"namespaceSelector": {}}]},
    "podAnnotations": {"team": "doors"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "nodeSelector": {"zone": "a"},
}
CASES = {"sqlite": {}, "postgresql": MANY, "everything": EVERYTHING}
# The oldest that the chart takes, and the newest whose schemas are known.
VERSIONS = ("1.27", kubernetes_validate.latest_version())


def render(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The objects of a release `demo` by kind; the engine reads the schema of values before."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name="demo", namespace="faces")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    objects = [one for text in texts for one in yaml.safe_load_all(text) if one]
    assert len({one["kind"] for one in objects}) == len(objects)
    return {one["kind"]: one for one in objects}


def pods(objects: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [objects[kind]["spec"]["template"] for kind in ("Deployment", "Job") if kind in objects]


def test_helm_finds_nothing_wrong() -> None:
    report = helm.lint(CHART, {}, strict=True)
    assert report["errors"] == []
    assert [one for one in report["messages"] if one["severity"] > 1] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_objects_follow_the_schemas_of_kubernetes(case: str, version: str) -> None:
    objects = render(CASES[case])
    # The Prometheus operator's own kind is none of Kubernetes.
    objects.pop("ServiceMonitor", None)
    for one in objects.values():
        kubernetes_validate.validate(one, version, strict=True)


def test_each_case_has_the_objects_that_it_needs() -> None:
    always = {"Deployment", "Service", "NetworkPolicy"}
    assert set(render({})) == always | {"PersistentVolumeClaim"}
    assert set(render(MANY)) == always | {"Job", "PodDisruptionBudget"}
    assert set(render(EVERYTHING)) == always | {
        *("Job", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress", "ServiceMonitor")
    }


@pytest.mark.parametrize("case", CASES)
def test_no_container_has_rights(case: str) -> None:
    for pod in pods(render(CASES[case])):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in spec["containers"] + spec.get("initContainers", []):
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert one["resources"]["limits"]["memory"]
            assert {mount["mountPath"] for mount in one["volumeMounts"]} >= {"/data"}


def test_probes_and_budget() -> None:
    objects = render(EVERYTHING)
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")
    }
    assert paths == {"startup": "/health/live", "liveness": "/health/live", "readiness": "/health/ready"}
    assert objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    metric = objects["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]
    assert metric["metric"]["name"] == "halflight_queue_items"
    assert "replicas" not in objects["Deployment"]["spec"], "the autoscaler's number would be undone"
    assert objects["Deployment"]["spec"]["strategy"]["type"] == "RollingUpdate"
    assert render({})["Deployment"]["spec"]["strategy"]["type"] == "Recreate"


def test_selectors_reach_the_replicas_and_not_the_job() -> None:
    objects = render(EVERYTHING)
    replica = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    job = objects["Job"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        objects["Service"]["spec"]["selector"],
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= replica.items()
        assert not selector.items() <= job.items()


def test_settings_and_secrets_reach_the_service() -> None:
    (container,) = render(EVERYTHING)["Deployment"]["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container["env"]}
    assert given == {
        "ORT_DISABLE_TELEMETRY": "1",
        "HALFLIGHT_WORKERS": "4",
        "HALFLIGHT_SECRETS_DIR": "/run/secrets/halflight",
        "HALFLIGHT_TRUSTED_PROXIES": "10.1.0.0/16,10.2.0.7",
        "HALFLIGHT_LOG_LEVEL": "debug",
        # As Helm hands a large number to a template, it is 6.4e+07.
        "HALFLIGHT_MAX_WORK_PIXELS": "64000000",
        "HALFLIGHT_KEEP_CROPS": "false",
    }
    settings = {
        name.removeprefix("HALFLIGHT_").lower(): value
        for name, value in given.items()
        if name.startswith("HALFLIGHT_") and name != "HALFLIGHT_SECRETS_DIR"
    }
    read = Settings.model_validate(settings)
    assert (read.workers, read.max_work_pixels) == (4, 64_000_000)


def test_one_worker_answers_unless_the_values_say_otherwise() -> None:
    (container,) = render({})["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "HALFLIGHT_WORKERS", "value": "1"} in container["env"]
    # SQLite takes several workers, though one replica alone.
    (container,) = render({"workers": 2})["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "HALFLIGHT_WORKERS", "value": "2"} in container["env"]
    # The chart takes what the service takes.
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["workers"]
    for number in (schema["minimum"], schema["maximum"]):
        assert Settings(workers=number).workers == number
    for number in (schema["minimum"] - 1, schema["maximum"] + 1):
        with pytest.raises(ValueError, match="workers"):
            Settings(workers=number)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"replicas": 2}, "SQLite takes one replica"),
        ({"autoscaling": {"enabled": True}}, "SQLite takes one replica"),
        ({"persistence": {"enabled": False}}, "would go with the pod"),
        ({"database": {"kind": "postgresql"}}, "needs a Secret"),
        ({**MANY, "persistence": {"enabled": True}}, "ReadWriteMany"),
        ({**MANY, "autoscaling": {"enabled": True, "min": 9}}, "min is larger than max"),
        ({"ingress": {"enabled": True, "host": "a", "tlsSecret": "b"}}, "all clients count as one"),
        ({"ingress": {"enabled": True, "host": "a"}, "trustedProxies": ["10.0.0.1"]}, "set tlsSecret"),
        ({"replica": 2}, "'replica' not allowed"),
        ({"replicas": 0}, "minimum"),
        ({"workers": 0}, "minimum"),
        ({"workers": 65}, "maximum"),
        ({"workers": "2"}, "integer"),
        ({"settings": {"workers": 2}}, "invalid propertyName 'workers'"),
        ({"workers": 2, "settings": {"doors_file": "/data/doors.toml"}}, "leave workers at 1"),
        ({"image": {"repository": "x", "tag": "latest"}}, "tag"),
        ({"settings": {"master_key": "00"}}, "invalid propertyName 'master_key'"),
        ({"settings": {"data_dir": "/x"}}, "invalid propertyName 'data_dir'"),
        ({"trustedProxies": ["*"]}, "does not match pattern"),
    ],
)
def test_what_cannot_work_is_refused(values: dict[str, Any], why: str) -> None:
    with pytest.raises(helm.HelmError, match=why):
        render(values)


def test_the_chart_names_every_secret_and_this_version() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    refused = set(schema["properties"]["settings"]["propertyNames"]["not"]["enum"])
    assert {name.removeprefix("HALFLIGHT_").lower() for name in SECRETS} <= refused
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]
