"""Alerts and dashboard: valid, about metrics that there are, and firing when they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sigrl.service.observability.metrics import REGISTRY

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = [
    rule for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "sigrl.json").read_text())
SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "info": ("_info",),
}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed here")


def _exposed() -> set[str]:
    return {family.name + suffix for family in REGISTRY.collect() for suffix in SUFFIXES[family.type]}


def _named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:sigrl|process)_\w+", expression))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alerts_use_existing_metrics(rule: dict) -> None:
    assert _named(rule["expr"]) <= _exposed()
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_dashboard_panels_use_existing_metrics(panel: dict) -> None:
    for target in panel["targets"]:
        assert _named(target["expr"])
        assert _named(target["expr"]) <= _exposed()


def test_grafana_provisioning_matches_data_source_and_dashboard() -> None:
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (uid,) = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    assert source["datasources"][0]["uid"] == uid
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/sigrl.yml").read_text())
    mounted = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())["services"]["grafana"]
    folder = provider["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in mounted["volumes"]


@needs_promtool
def test_prometheus_accepts_its_configuration() -> None:
    subprocess.run(["promtool", "check", "config", DEPLOY / "prometheus.yml"], check=True)


@pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed here")
@pytest.mark.parametrize("severity", ["page", "ticket"])
def test_alert_is_routed_to_the_receiver_of_its_severity(severity: str) -> None:
    file = f"--config.file={DEPLOY / 'alertmanager.yml'}"
    command = ["amtool", "config", "routes", "test", file, f"--verify.receivers={severity}"]
    subprocess.run([*command, f"severity={severity}", "alertname=SigrlErrors"], check=True)


def test_prometheus_is_configured_with_the_compose_alertmanager() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    (manager,) = config["alerting"]["alertmanagers"]
    ((target,),) = (each["targets"] for each in manager["static_configs"])
    host, _, port = target.partition(":")
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    assert compose["services"][host]["ports"] == [f"127.0.0.1:{port}:{port}"]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_is_documented(rule: dict) -> None:
    page = (DEPLOY.parent / "docs/deploy.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{rule['alert']}` |"))
    assert f"| {rule['labels']['severity']} |" in row


@needs_promtool
def test_alert_rules_pass_their_promtool_tests(tmp_path: Path) -> None:
    tests = Path(__file__).with_name("alerts_test.yml").read_text()
    (tmp_path / "test.yml").write_text(tests.replace("ALERTS", str(DEPLOY / "alerts.yml")))
    subprocess.run(["promtool", "test", "rules", tmp_path / "test.yml"], check=True)
