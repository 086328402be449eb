"""Traces of requests and their stages, sent to an OpenTelemetry collector if a setting names one.

A span holds the method, the template of the route, the status and times: no path, address, subject or score,
and nothing of an exception, whose text may name any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

# Asked by supervisors every few seconds; their answers are metrics.
NOT_TRACED = ("/health/live", "/health/ready", "/metrics")
FLUSH_MS = 3000

_CURRENT: ContextVar[Tracer | None] = ContextVar("halflight_tracer", default=None)


class TracingUnavailable(RuntimeError):
    """The packages of OpenTelemetry are not installed."""


class RequestSpan:
    """The span of one request. `answered` gives it its name, when the route is known."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def answered(self, *, method: str, route: str, status: int) -> None:
        if self._span is None:
            return
        from opentelemetry.trace import StatusCode

        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        )
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)


class Tracing:
    """Makes spans; does nothing without `endpoint`, such as http://collector:4318.

    Raises TracingUnavailable.
    """

    def __init__(self, endpoint: str | None, version: str) -> None:
        self._provider = None if endpoint is None else _provider(endpoint, version)

    @contextmanager
    def request(self, path: str, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        """The span around a request, a child of the caller's if its `traceparent` names one."""
        if self._provider is None or path.endswith(NOT_TRACED):
            yield RequestSpan(None)
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = {"traceparent": headers["traceparent"]} if "traceparent" in headers else {}
        tracer = self._provider.get_tracer("halflight")
        token = _CURRENT.set(tracer)
        try:
            with tracer.start_as_current_span(
                "request",
                context=TraceContextTextMapPropagator().extract(parent),
                kind=SpanKind.SERVER,
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                yield RequestSpan(span)
        finally:
            _CURRENT.reset(token)

    async def close(self) -> None:
        """Sends what waits, for some seconds at most."""
        if self._provider is not None:
            await asyncio.to_thread(self._provider.force_flush, FLUSH_MS)
            await asyncio.to_thread(self._provider.shutdown)


def check_tracing(endpoint: str | None) -> None:
    """Raises TracingUnavailable if there is an endpoint, and nothing to send to it with."""
    if endpoint is not None:
        _provider(endpoint, "").shutdown()


@contextmanager
def stage_span(name: str) -> Iterator[None]:
    """The span of a stage within the request that runs, if that one is traced."""
    tracer = _CURRENT.get()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False):
        yield


def _provider(endpoint: str, version: str) -> TracerProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingUnavailable("HALFLIGHT_OTEL_ENDPOINT needs the extra `halflight[otel]`") from error
    about: dict[str, Any] = {"service.name": "halflight", "service.version": version}
    provider = TracerProvider(resource=Resource.create(about))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
