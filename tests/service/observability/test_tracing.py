import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
import sample_images as samples
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from service_process import ServiceProcess, wait_until

from sigrl.service.app import create_app
from sigrl.service.errors import ParameterError
from sigrl.service.observability.tracing import Traces
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

PARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
STEPS = ["decode", "queue", "model", "score"]


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(tagger: Tagger, spans: InMemorySpanExporter) -> Iterator[TestClient]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    app = create_app(Settings(), tagger)
    app.add_middleware(Traces, provider=provider)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def _trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def test_request_continues_the_trace_of_its_caller(traced: TestClient, spans: InMemorySpanExporter) -> None:
    files = [("image", ("secret.jpg", samples.jpeg()))] * 2
    answer = traced.post("/v1/tag?labels=secret", files=files, headers={"traceparent": PARENT})
    assert answer.status_code == 200
    *steps, request = spans.get_finished_spans()
    assert {_trace_id(span) for span in (*steps, request)} == {PARENT[3:35]}
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT[36:52]
    assert (request.name, request.attributes) == (
        "POST /v1/tag",
        {
            "http.request.method": "POST",
            "http.route": "/v1/tag",
            "http.response.status_code": 200,
            "sigrl.request_id": answer.headers["X-Request-ID"],
        },
    )
    assert sorted(span.name for span in steps) == sorted(STEPS * 2)
    assert all(span.parent == request.context for span in steps)
    assert all(
        (span.attributes or {}).get("sigrl.batch.photographs") in (1, 2)
        for span in steps
        if span.name in ("model", "score")
    )
    assert "secret" not in "".join(span.to_json() for span in (*steps, request))


def test_step_spans_are_consecutive_within_the_request_span(
    traced: TestClient, spans: InMemorySpanExporter
) -> None:
    traced.post("/v1/tag?labels=red", content=samples.jpeg(), headers={"content-type": "image/jpeg"})
    *steps, request = spans.get_finished_spans()
    assert [span.name for span in steps] == STEPS
    for before, after in pairwise(steps):
        assert before.end_time == after.start_time
    assert request.start_time <= steps[0].start_time
    assert steps[-1].end_time <= request.end_time


def test_failures_are_error_spans_and_probes_are_not_traced(
    traced: TestClient, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert traced.get(path).status_code == 200
    assert spans.get_finished_spans() == ()
    monkeypatch.setattr("sigrl.service.http.routes.tag.read_tag_request", None)
    traced.post("/v1/tag", content=samples.jpeg())
    (request,) = spans.get_finished_spans()
    assert not request.status.is_ok
    assert request.events == ()


class Collector(HTTPServer):
    """Takes spans as a collector would."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.services: set[str] = set()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.server.services |= {
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            }
            self.server.names += [span.name for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_spans_are_exported_and_logs_contain_the_trace_id(tmp_path: Path) -> None:
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
        with ServiceProcess(tmp_path, environment=where) as process:
            headers = {"traceparent": PARENT, "content-type": "image/jpeg"}
            process.client.post("/v1/tag?labels=red", content=samples.jpeg(), headers=headers)
            wait_until(lambda: any(each.get("route") == "/v1/tag" for each in process.records))
            (record,) = (each for each in process.records if each.get("route") == "/v1/tag")
            assert record["trace_id"] == PARENT[3:35]
            # What was not sent yet is sent before the end.
            assert process.stop() == 0
        collector.shutdown()
    assert collector.names == [*STEPS, "POST /v1/tag"]
    assert collector.services == {"sigrl-tagger"}


def test_enabled_tracing_without_its_package_is_reported(
    monkeypatch: pytest.MonkeyPatch, tagger: Tagger
) -> None:
    monkeypatch.delitem(sys.modules, "sigrl.service.observability.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.")]:
        monkeypatch.delitem(sys.modules, name)
    create_app(Settings(), tagger)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    with pytest.raises(ParameterError, match=r"sigrl-tagger\[otel\]"):
        create_app(Settings(), tagger)
