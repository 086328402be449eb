"""Tests the traces of a running service with a receiver that reads OTLP."""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from service.settings import Settings, builtin_bundle
from service.tracing import Tracing, TracingUnavailable
from tests.conftest import Service, free_port, sample_bytes

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STAGES = {"decode", "detect", "embed", "search"}


class Collector:
    """Receives spans over HTTP, as a collector does."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.paths.add(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> Span:
        (found,) = (span for span in self.spans if span.name == name)
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Collector:
    """What a collector has got when a service that was asked some things has ended."""
    collector = Collector()
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()), "HALFLIGHT_OTEL_ENDPOINT": collector.url}
    service = Service(tmp_path_factory.mktemp("traced") / "data", env).start()
    with service.client() as client:
        photo, probe = sample_bytes("s01"), sample_bytes("s01", "nir_masked_1.jpg")
        enrolled = client.post("/v1/enroll", data={"subject_id": "secret-name"}, files={"images": photo})
        assert enrolled.status_code == 201
        parent = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        found = client.post("/identify?camera=door-7", files={"image": probe}, headers=parent)
        assert found.json()["results"][0]["candidates"][0]["subject_id"] == "secret-name"
        assert client.get("/v1/subjects/secret-name").status_code == 200
        assert (
            client.post("/verify", data={"subject_id": "nobody-x"}, files={"image": probe}).status_code == 404
        )
        assert client.get("/metrics").status_code == 200
    assert service.stop() == 0
    collector.close()
    return collector


def test_a_request_is_a_span_with_its_stages_below(traced: Collector) -> None:
    assert traced.paths == {"/v1/traces"}
    request = traced.named("POST /identify")
    assert request.kind == Span.SPAN_KIND_SERVER
    below = [span for span in traced.spans if span.parent_span_id == request.span_id]
    assert {span.name for span in below} == STAGES
    for span in below:
        assert span.trace_id == request.trace_id
        assert request.start_time_unix_nano <= span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= request.end_time_unix_nano
    enrolment = traced.named("POST /enroll")
    assert {"decode", "detect", "embed"} <= {
        span.name for span in traced.spans if span.trace_id == enrolment.trace_id
    }


def test_a_request_joins_the_trace_of_its_caller(traced: Collector) -> None:
    request = traced.named("POST /identify")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, CALLER)
    assert traced.named("POST /enroll").parent_span_id == b""


def test_spans_hold_the_route_and_nothing_of_a_person(traced: Collector) -> None:
    held = {
        span.name: {one.key: one.value.string_value or one.value.int_value for one in span.attributes}
        for span in traced.spans
    }
    assert held["POST /identify"] == {
        "http.request.method": "POST",
        "http.route": "/identify",
        "http.response.status_code": 200,
    }
    assert held["GET /subjects/{subject_id}"]["http.response.status_code"] == 200
    assert held["POST /verify"]["http.response.status_code"] == 404
    assert all(held[stage] == {} for stage in STAGES)
    everything = b"".join(request.SerializeToString() for request in traced.requests)
    for private in (b"secret-name", b"nobody-x", b"door-7", b"127.0.0.1", b"score", b"traceparent"):
        assert private not in everything
    assert not [span for span in traced.spans if span.events]
    # A refusal is no fault of the service.
    assert not [span for span in traced.spans if span.status.code == Status.STATUS_CODE_ERROR]


def test_health_and_metrics_are_not_traced(traced: Collector) -> None:
    assert not [span.name for span in traced.spans if "metrics" in span.name or "health" in span.name]


def test_the_process_is_named(traced: Collector) -> None:
    for request in traced.requests:
        for resource in request.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert names["service.name"] == "halflight"
            assert set(names) <= {
                *("service.name", "service.version", "service.instance.id"),
                *("telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version"),
            }


def test_a_collector_that_is_gone_costs_no_answer_and_no_clean_end(tmp_path: Path) -> None:
    env = {
        "HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()),
        "HALFLIGHT_OTEL_ENDPOINT": f"http://127.0.0.1:{free_port()}",
    }
    service = Service(tmp_path / "data", env).start()
    with service.client() as client:
        assert client.post("/detect", files={"image": sample_bytes("s01")}).status_code == 200
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 45


async def test_a_fault_is_marked_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector()
    tracing = Tracing(collector.url, "1")
    with pytest.raises(RuntimeError), tracing.request("/x", {}) as span:
        span.answered(method="GET", route="/x", status=500)
        raise RuntimeError("subject secret-name")
    await tracing.close()
    collector.close()
    fault = collector.named("GET /x")
    assert fault.status.code == Status.STATUS_CODE_ERROR
    assert b"secret-name" not in fault.SerializeToString()


def test_without_the_packages_the_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TracingUnavailable, match=r"halflight\[otel\]"):
        Tracing("http://127.0.0.1:1", "1")
    Tracing(None, "1")


@pytest.mark.parametrize(
    "address", ["collector:4318", "http://user:key@collector", "http://collector/?a=b", ""]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    if not address:
        assert Settings(otel_endpoint=None).otel_endpoint is None
        return
    with pytest.raises(ValueError, match="otel_endpoint is an address"):
        Settings(otel_endpoint=address)
