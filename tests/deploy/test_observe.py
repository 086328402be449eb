"""Tests the compose profile `observe`: a real Prometheus with the shipped files beside a real service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from service.settings import builtin_bundle
from service.telemetry import by_worker
from tests.conftest import REPO, Service, free_port
from tests.deploy.programs import accepts, find_program, running
from tests.deploy.scale import enrol, identify

MONITORING = REPO / "deploy" / "monitoring"
DASHBOARD = MONITORING / "grafana" / "dashboards" / "halflight.json"
NAME = re.compile(r"\bhalflight[_:][a-z0-9_:]*\b")
# Not the names that `rules.yml` records.
RAW = re.compile(r"\bhalflight_[a-z0-9_]*\b")
SCRAPED_S = 90.0


def rules(name: str) -> list[dict[str, Any]]:
    loaded = yaml.safe_load((MONITORING / name).read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


AGGREGATOR = re.compile(r"\b(sum|max|min)( by \(([a-z_, ]*)\))? $|\b(sum|max|min)$")


def over_workers(expression: str) -> bool:
    """Whether every metric of the service is summed over its workers, or the largest or smallest taken."""
    return all(_inside_aggregation(expression[: found.start()]) for found in RAW.finditer(expression))


def _inside_aggregation(before: str) -> bool:
    closed = 0
    for place in reversed(range(len(before))):
        if before[place] == ")":
            closed += 1
        elif before[place] == "(" and closed:
            closed -= 1
        elif before[place] == "(" and (found := AGGREGATOR.search(before[:place])) is not None:
            return "worker" not in (found[3] or "")
    return False


def panels() -> list[str]:
    """Every query of the dashboard."""
    return [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    ]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has enrolled and identified somebody."""
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle())}
    service = Service(tmp_path_factory.mktemp("observe") / "data", env).start()
    with service.client() as client:
        assert enrol(client, "s01").status_code == 201
        assert identify(client, "s01").status_code == 200
    yield service
    service.stop()


@pytest.fixture(scope="module")
def prometheus(used: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a Prometheus with the shipped configuration, which has looked at the service."""
    place = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(MONITORING, place / "etc")
    target = f"127.0.0.1:{used.port}"
    (place / "etc" / "targets" / "more.yml").write_text(json.dumps([{"targets": [target]}]))
    port = free_port()
    command = [find_program("prometheus", "prometheus"), f"--config.file={place / 'etc' / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={place / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    with (
        running(command, place / "log", lambda: accepts(port)),
        httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30) as client,
    ):
        end = time.monotonic() + SCRAPED_S
        while not query(client, 'up{job="halflight"} == 1'):
            assert time.monotonic() < end, client.get("/targets").text[:2000]
            time.sleep(0.5)
        yield client


def query(client: httpx.Client, expression: str) -> list[dict[str, Any]]:
    answer = client.get("/query", params={"query": expression}).raise_for_status().json()
    assert answer["status"] == "success"
    return list(answer["data"]["result"])


def test_promtool_takes_the_configuration_and_the_tests_of_the_alerts_pass() -> None:
    promtool = find_program("promtool", "prometheus")
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run([promtool, *command], cwd=MONITORING, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_shown_quiet_and_raised() -> None:
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in rules("alerts.yml")}
    assert {one["alertname"] for one in checks if one["exp_alerts"]} == alerts
    assert {one["alertname"] for one in checks if not one["exp_alerts"]} == alerts


def test_rules_and_dashboard_name_only_what_the_service_has(used: Service) -> None:
    text = httpx.get(f"{used.url}/metrics").text
    # With several workers there is one metric more.
    text += by_worker({0: b""}, 2).decode()
    exposed = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        ends = {"histogram": ("_bucket", "_sum", "_count")}.get(kind, ("",))
        exposed |= {name + end for end in ends}
    recorded = {rule["record"] for rule in rules("rules.yml")}
    queries = panels() + [rule["expr"] for name in ("rules.yml", "alerts.yml") for rule in rules(name)]
    named = {name for one in queries for name in NAME.findall(one)}
    assert len(named) > 20
    assert named - exposed - recorded == set()


def test_no_rule_alert_or_panel_counts_a_worker_as_a_service() -> None:
    assert over_workers("sum by (job, le) (rate(halflight_a[5m])) / max(halflight_b) > 3")
    for wrong in ("halflight_a > 0", "sum(halflight_a) / halflight_b", "sum by (worker) (halflight_a)"):
        assert not over_workers(wrong)
    queries = panels() + [rule["expr"] for name in ("rules.yml", "alerts.yml") for rule in rules(name)]
    assert [one for one in queries if not over_workers(one)] == []


def test_readiness_quality_and_disk_are_measured(used: Service) -> None:
    lines = httpx.get(f"{used.url}/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert (values["halflight_ready"], values["halflight_degraded"]) == ("1.0", "0.0")
    left = float(values["halflight_disk_free_bytes"])
    assert left == pytest.approx(shutil.disk_usage(used.data).free, rel=0.2)
    assert float(values["halflight_disk_reserve_bytes"]) == 1 << 30
    assert values['halflight_probe_quality_count{spectrum="nir"}'] == "1.0"
    assert 0 < float(values['halflight_probe_quality_sum{spectrum="nir"}']) <= 100


@pytest.mark.slow
def test_prometheus_evaluates_every_rule_and_every_query_of_the_dashboard(prometheus: httpx.Client) -> None:
    end, states, raised = time.monotonic() + SCRAPED_S, dict[str, dict[str, Any]](), ["not yet evaluated"]
    while raised:
        assert time.monotonic() < end, f"{raised} after {SCRAPED_S} s"
        time.sleep(1)
        groups = prometheus.get("/rules").json()["data"]["groups"]
        states = {rule["name"]: rule for group in groups for rule in group["rules"]}
        assert [rule.get("lastError") for rule in states.values() if rule["health"] == "err"] == []
        # Whether the disk of this machine is nearly full is not the test's business.
        raised = [
            name
            for name, rule in states.items()
            if rule["health"] != "ok"
            or (rule.get("state", "inactive") != "inactive" and not name.startswith("HalflightDisk"))
        ]
    shipped = [rule for name in ("rules.yml", "alerts.yml") for rule in rules(name)]
    assert set(states) == {rule.get("alert") or rule["record"] for rule in shipped}
    for expression in panels():
        query(prometheus, expression)
    assert query(prometheus, "halflight_gallery_templates")[0]["value"][1] == "1"


def test_grafana_is_provisioned_with_the_source_that_the_dashboard_names() -> None:
    sources = yaml.safe_load((MONITORING / "grafana" / "datasources" / "prometheus.yml").read_text())
    (source,) = sources["datasources"]
    (variable,) = json.loads(DASHBOARD.read_text())["templating"]["list"]
    assert variable["current"]["value"] == source["uid"]
    used_sources = {panel["datasource"]["uid"] for panel in json.loads(DASHBOARD.read_text())["panels"]}
    assert used_sources == {"${source}"}
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(ids) == len(set(ids))
