"""docker-compose.yml and deploy/kubernetes.yaml: valid by their schemas, and in step with the service."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sigrl.service.app import create_app
from sigrl.service.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
KUBERNETES = {
    each["kind"]: each for each in yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())
}
POD = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
OURS = {name: each for name, each in COMPOSE["services"].items() if "build" in each}


def _known_variable(name: str) -> bool:
    return not name.startswith("SIGRL_") or name.removeprefix("SIGRL_").lower() in Settings.model_fields


def test_compose_file_matches_its_schema() -> None:
    schema = "--builtin-schema=vendor.compose-spec"
    subprocess.run(
        [sys.executable, "-m", "check_jsonschema", schema, ROOT / "docker-compose.yml"], check=True
    )


def test_each_compose_profile_starts_its_services() -> None:
    started: dict[str, set[str]] = {}
    for name, service in COMPOSE["services"].items():
        (profile,) = service["profiles"]
        started.setdefault(profile, set()).add(name)
        assert set(service.get("depends_on", ())) <= {
            other for other, each in COMPOSE["services"].items() if profile in each["profiles"]
        }
    full = {"replica", "proxy", "postgres", "prometheus", "alertmanager", "grafana"}
    assert started == {"default": {"sigrl"}, "gpu": {"gpu"}, "full": full}


def test_compose_mounts_exist_and_ports_are_on_loopback() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), source
        assert all("127.0.0.1:" in port for port in service.get("ports", ()))


@pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"])
def test_every_container_limits_memory_and_logs(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()


def test_no_password_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert not re.search(r"PASSWORD\w*:-", text)
    assert all("PASSWORD" not in each or "_FILE" in each for each in re.findall(r"\b[A-Z_]+(?=:)", text))
    used = {name for each in COMPOSE["services"].values() for name in each.get("secrets", ())}
    assert used == COMPOSE["secrets"].keys()
    assert all(map(_known_variable, (name.upper() for name in used)))
    assert "Secret" not in KUBERNETES


@pytest.mark.parametrize("service", OURS.values(), ids=OURS)
def test_our_containers_have_a_grace_period_and_minimal_privileges(service: dict[str, Any]) -> None:
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings().shutdown_seconds
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert all(map(_known_variable, service.get("environment", ())))
    targets = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert service["build"]["args"]["TARGET"] in targets


@pytest.mark.parametrize("manifest", KUBERNETES.values(), ids=KUBERNETES)
@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_kubernetes_manifests_match_their_schema(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_service_monitor_selects_the_service_and_the_alert_job() -> None:
    monitor = yaml.safe_load((ROOT / "deploy" / "kubernetes-monitoring.yaml").read_text())["spec"]
    service = KUBERNETES["Service"]
    labels = service["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert {each["port"] for each in monitor["endpoints"]} <= {
        each["name"] for each in service["spec"]["ports"]
    }
    alerts = (ROOT / "deploy" / "alerts.yml").read_text()
    assert set(re.findall(r'job="(\w+)"', alerts)) == {labels[monitor["jobLabel"]]}
    # Otherwise Prometheus might find the pods twice, the second time as another job.
    assert "annotations" not in KUBERNETES["Deployment"]["spec"]["template"]["metadata"]


def test_network_policy_allows_what_the_pods_need() -> None:
    policy = KUBERNETES["NetworkPolicy"]["spec"]
    pod_labels = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == pod_labels
    (ingress,), (egress,) = policy["ingress"], policy["egress"]
    assert [each["port"] for each in ingress["ports"]] == [POD["containers"][0]["ports"][0]["name"]]
    assert {each["port"] for each in egress["ports"]} == {53, 5432}


def test_probes_use_existing_health_routes() -> None:
    (container,) = POD["containers"]
    probes = {
        kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")
    }
    assert probes == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    assert set(probes.values()) <= set(create_app().openapi()["paths"])


def test_pod_drains_before_stopping_within_its_grace_period() -> None:
    drain, shutdown = (
        int(KUBERNETES["ConfigMap"]["data"][f"SIGRL_{name}_SECONDS"]) for name in ("DRAIN", "SHUTDOWN")
    )
    readiness = POD["containers"][0]["readinessProbe"]
    assert drain >= readiness["periodSeconds"] * readiness["failureThreshold"]
    # The server itself adds three seconds for the last answers.
    assert POD["terminationGracePeriodSeconds"] > drain + shutdown + 3


def test_pod_runs_as_non_root_with_a_read_only_root_filesystem() -> None:
    (container,) = POD["containers"]
    user = re.search(r"useradd --uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert user is not None
    assert POD["securityContext"]["runAsUser"] == int(user[1]) != 0
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts) == {"/data", "/tmp", "/checkpoints"}
    assert set(mounts.values()) == {volume["name"] for volume in POD["volumes"]}
    assert all(map(_known_variable, KUBERNETES["ConfigMap"]["data"]))


def test_proxy_limits_are_not_below_the_service_limits() -> None:
    nginx = (ROOT / "deploy" / "nginx" / "site.conf").read_text()
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", nginx)
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", nginx)
    assert int(megabytes) * 2**20 > Settings().max_request_bytes
    assert int(seconds) > Settings().request_seconds


def test_docker_build_context_contains_all_copied_files() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source
        assert any(os.path.commonpath([source, each]) == each for each in allowed), source
