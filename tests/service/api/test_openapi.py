"""Tests the service against its OpenAPI document with requests that Schemathesis generates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartService
from tests.service.api.test_access import make_key

EXAMPLES = 20
STREAM = "/v1/events"
# Made-up bytes are never a face, so `positive_data_acceptance` cannot hold; forms may carry fields
# that the service does not know, so `negative_data_rejection` cannot either.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)


@pytest.mark.slow
def test_every_response_conforms_to_the_openapi_document(start_service: StartService, tmp_path: Path) -> None:
    # A service of its own, with a key: the requests make keys, which ends open access.
    data = tmp_path / "fuzzed"
    data.mkdir()
    key = make_key(data, "admin")
    service = start_service(data=data, HALFLIGHT_RATE_LIMIT_PER_S="0")
    # In a child process: its pytest plugin cannot load a schema late under this pytest.
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {key}"]
    command += ["--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES), "--seed", "1"]
    # A stream without an end; tests/service/live has its tests.
    command += ["--exclude-path", STREAM]
    # How fast bodies are made up, and how many are thrown away, says nothing of the service.
    command += ["--suppress-health-check", "too_slow,filter_too_much"]
    command += ["--phases", "examples,coverage,fuzzing", "--generation-database", "none", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True)
    # Only the summary: the full output would hold the requests.
    assert done.returncode == 0, done.stdout[-6000:]
    paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    operations = sum(len(methods) for path, methods in paths.items() if path != STREAM)
    assert f" {operations} selected" in done.stdout, done.stdout[-2000:]


def test_the_openapi_document_lists_every_path(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert all(path.startswith("/v1/") for path in paths)
    asked = {(path.removeprefix("/v1"), method) for path, methods in paths.items() for method in methods}
    assert asked >= {
        ("/enroll", "post"),
        ("/enroll/bulk", "post"),
        ("/enroll/bulk/{job_id}", "get"),
        ("/enroll/bulk/{job_id}/report", "get"),
        ("/identify", "post"),
        ("/verify", "post"),
        ("/embed", "post"),
        ("/detect", "post"),
        ("/subjects", "get"),
        ("/admin/thresholds", "get"),
        ("/admin/thresholds", "post"),
        ("/admin/thresholds/{version}", "get"),
        ("/admin/thresholds/{version}/activate", "post"),
        ("/subjects/{subject_id}", "get"),
        ("/subjects/{subject_id}", "patch"),
        ("/subjects/{subject_id}", "delete"),
        ("/subjects/{subject_id}/samples/{sample_id}", "delete"),
        ("/subjects/{subject_id}/export", "get"),
        ("/subjects/{subject_id}/hold", "put"),
        ("/subjects/{subject_id}/hold", "delete"),
        ("/health/live", "get"),
        ("/health/ready", "get"),
        ("/metrics", "get"),
        ("/admin/retrain", "post"),
        ("/admin/evaluate", "post"),
        ("/admin/evaluate/upload", "post"),
        ("/admin/evaluate/{job_id}/report", "get"),
        ("/admin/datasets", "post"),
        ("/admin/jobs", "get"),
        ("/admin/jobs/{job_id}", "get"),
        ("/admin/jobs/{job_id}/events", "get"),
        ("/admin/jobs/{job_id}/cancel", "post"),
        ("/admin/spaces", "get"),
        ("/admin/spaces", "post"),
        ("/admin/spaces/{space_id}/backfill", "post"),
        ("/admin/spaces/{space_id}/activate", "post"),
        ("/admin/spaces/{space_id}", "delete"),
        ("/admin/export", "post"),
        ("/admin/import", "post"),
        ("/admin/keys", "post"),
        ("/admin/keys", "get"),
        ("/admin/keys/{key_id}", "delete"),
        ("/admin/webhooks", "get"),
        ("/admin/webhooks/replay", "post"),
        ("/events", "get"),
        ("/events/{event_id}/crop", "get"),
        ("/events/{event_id}/correct", "post"),
        ("/unknowns", "get"),
        ("/unknowns/{unknown_id}", "delete"),
        ("/unknowns/{unknown_id}/enrol", "post"),
        ("/unknowns/{unknown_id}/ignore", "post"),
    }


def test_the_documentation_page_needs_no_other_server(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert asset in page.text
        assert client.get(f"/docs/assets/{asset}").status_code == 200
