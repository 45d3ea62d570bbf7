"""OpenTelemetry traces: a span for each request, with child spans for the steps of each photograph.

opentelemetry-instrumentation-asgi is not used because it writes whole URLs, which contain labels, into
spans. This module is imported only if tracing is on, because OpenTelemetry is an optional dependency.
"""

import os
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sigrl import version
from sigrl.service.observability.context import PROBES


def otlp_provider() -> TracerProvider:
    """A provider that sends spans to OTEL_EXPORTER_OTLP_ENDPOINT from a thread of its own; the other OTEL_*
    variables apply too. Shut it down at the end to send the remaining spans."""
    attributes = {SERVICE_VERSION: version()}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        attributes[SERVICE_NAME] = "sigrl-tagger"
    provider = TracerProvider(resource=Resource.create(attributes))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Traces:
    """Middleware that continues the trace of the header `traceparent`, or starts one. Probes are not
    traced."""

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        self.app = app
        self._tracer = provider.get_tracer("sigrl", version())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        method, state, status = scope["method"], scope.setdefault("state", {}), 0
        parent = TraceContextTextMapPropagator().extract(Headers(scope=scope))

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._tracer.start_as_current_span(
            method,
            parent,
            SpanKind.SERVER,
            # An exception's message may contain data of the client.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            state["trace"] = _RequestTrace(self._tracer, span)
            try:
                await self.app(scope, receive, send_and_note)
            finally:
                route = getattr(scope.get("route"), "path", "unmatched")
                span.update_name(f"{method} {route}")
                span.set_attributes(
                    {
                        "http.request.method": method,
                        "http.route": route,
                        "http.response.status_code": status,
                        "sigrl.request_id": state.get("request_id", ""),
                    }
                )
                if status >= 500:
                    span.set_status(StatusCode.ERROR)


class _RequestTrace:
    """See `sigrl.service.observability.context.Trace`."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer, self._span = tracer, span
        self.id = format_trace_id(span.get_span_context().trace_id)

    def steps(self, seconds: dict[str, float], photographs: int) -> None:
        # Spans are made afterwards from measured times: the model's thread serves many requests at once.
        nanoseconds = {name: int(each * 1e9) for name, each in seconds.items()}
        begin = time.time_ns() - sum(nanoseconds.values())
        parent = set_span_in_context(self._span)
        for name, length in nanoseconds.items():
            step = self._tracer.start_span(name, parent, start_time=begin)
            if name in ("model", "score"):
                step.set_attribute("sigrl.batch.photographs", photographs)
            begin += length
            step.end(begin)
