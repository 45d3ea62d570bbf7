import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import sample_images as samples
from service_process import ServiceProcess, wait_until

from sigrl.service.observability.context import SERVED, Served
from sigrl.service.observability.logs import OfRequest, TextFormatter

LABEL, FILE = "a-label-of-mine", "a-file-of-mine.jpg"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path_factory.mktemp("service")) as process:
        yield process


def _of_request(process: ServiceProcess, request_id: str) -> list[dict[str, object]]:
    def found() -> list[dict[str, object]]:
        return [record for record in process.records if record.get("request_id") == request_id]

    wait_until(lambda: any(record["logger"] == "sigrl.access" for record in found()))
    return found()


def test_access_log_has_a_record_per_request_without_client_data(process: ServiceProcess) -> None:
    answer = process.client.post(
        f"/v1/tag?labels={LABEL}",
        files=[("image", (FILE, samples.jpeg())), ("image", (FILE, b"broken"))],
        headers={"X-Request-ID": "mine-1", "Authorization": "Bearer a-secret-of-mine"},
    )
    assert answer.status_code == 200
    (record,) = _of_request(process, "mine-1")
    seconds = record.pop("seconds")
    assert isinstance(seconds, float)
    assert record.pop("time")
    assert record == {
        "level": "INFO",
        "logger": "sigrl.access",
        "message": f"POST /v1/tag 200 in {seconds:.3f} s",
        "method": "POST",
        "route": "/v1/tag",
        "status": 200,
        "photographs": 2,
        "checkpoint": "sha256:fake",
        "request_id": "mine-1",
    }
    for text in (LABEL, FILE, "a-secret-of-mine"):
        assert text not in process.log


def test_access_log_contains_the_problem_of_a_rejected_request(process: ServiceProcess) -> None:
    process.client.post("/v1/tag", content=b"broken", headers={"X-Request-ID": "mine-6"})
    (record,) = _of_request(process, "mine-6")
    assert (record["status"], record["problem"]) == (415, "unsupported-image")


def test_access_log_contains_the_route_template_not_the_path(process: ServiceProcess) -> None:
    process.client.get("/v1/vocabularies/a-name-of-mine", headers={"X-Request-ID": "mine-2"})
    (record,) = _of_request(process, "mine-2")
    assert (record["route"], record["status"]) == ("/v1/vocabularies/{name}", 404)
    process.client.get("/a-path-of-mine", headers={"X-Request-ID": "mine-3"})
    (record,) = _of_request(process, "mine-3")
    assert (record["route"], record["status"]) == ("unmatched", 404)
    assert "of-mine" not in process.log


def test_errors_are_logged_once_with_the_request_id_from_any_thread(process: ServiceProcess) -> None:
    answer = process.client.post(
        "/v1/tag?labels=fault", content=samples.jpeg(), headers={"X-Request-ID": "mine-4"}
    )
    assert answer.status_code == 500
    assert "mine-4" in answer.json()["hint"]
    in_thread, failure, access = _of_request(process, "mine-4")
    assert in_thread["message"] == "this will not go well"
    assert failure["level"] == "ERROR"
    assert str(failure["exception"]).startswith("Traceback")
    assert "RuntimeError: nobody foresaw this" in str(failure["exception"])
    assert (access["level"], access["status"]) == ("WARNING", 500)


def test_log_is_json_only_and_omits_probes(process: ServiceProcess) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert process.client.get(path).status_code == 200
    process.client.get("/openapi.json", headers={"X-Request-ID": "mine-5"})
    _of_request(process, "mine-5")
    routes = {record.get("route") for record in process.records}
    assert routes.isdisjoint({"/healthz", "/readyz", "/metrics"})
    assert not any("uvicorn.access" in str(record) or "color" in str(record) for record in process.records)


def test_log_format_and_level_are_configurable(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, log_format="text", log_level="debug") as process:
        process.client.get("/healthz", headers={"X-Request-ID": "mine"})
        wait_until(lambda: "[mine]" in process.log)
        (line,) = (line for line in process.log.splitlines() if "[mine]" in line)
        assert " DEBUG GET /healthz 200 in " in line


def test_log_record_outside_a_request_has_no_id() -> None:
    record = logging.makeLogRecord({"msg": "hello", "levelname": "INFO"})
    assert OfRequest().filter(record)
    assert TextFormatter("%(message)s%(of_request)s").format(record) == "hello"
    token = SERVED.set(Served("seven"))
    try:
        assert OfRequest().filter(record)
    finally:
        SERVED.reset(token)
    assert TextFormatter("%(message)s%(of_request)s").format(record) == "hello [seven]"


def test_unsafe_request_id_is_not_logged(process: ServiceProcess) -> None:
    process.client.options("/v1/tag", headers={"X-Request-ID": 'no"json\\'})
    wait_until(lambda: any(record.get("method") == "OPTIONS" for record in process.records))
    assert 'no"json' not in json.dumps(process.records)
