"""The API below `/v1` and below a proxy's prefix: the same routes, guards, limits and metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from pydantic import ValidationError

from service.app import create_app
from service.settings import OWN_PATHS, Settings
from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import problem
from tests.service.api.test_guard import head, send

ROOT = "/faces"
# Spellings of /subjects that a guard or a router might take for something else.
ODD = (
    *("//v1/subjects", "/v1//subjects", "/v1/v1/subjects", "/v1/./subjects", "/v1/../subjects"),
    *("/%2Fv1/subjects", "/v1%2Fsubjects", "/%76%31/subjects", "/v1/%2Fsubjects", "/v1/subjects%2F"),
    *("/v1/subjects/", "/V1/subjects", "/v1/subjects;x", "/faces/v1/subjects", "/v1/faces/subjects"),
    *("/faces%2Fsubjects", "/faces//subjects", "//faces/subjects", "/faces/faces/subjects"),
)


class _Proxy(BaseHTTPRequestHandler):
    """Takes `ROOT` off each path, as `location /faces/ { proxy_pass http://upstream/; }` does."""

    protocol_version = "HTTP/1.1"
    port = 0

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        kept = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        upstream = HTTPConnection("127.0.0.1", self.port)
        upstream.request(
            self.command, self.path.removeprefix(ROOT), body, kept | {"X-Forwarded-For": "9.9.9.9"}
        )
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _forward  # noqa: N815 - the names that `http.server` calls

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def keyed(start_service: StartService, tmp_path: Path) -> tuple[Service, str]:
    data = tmp_path / "keyed"
    data.mkdir()
    key = make_key(data, "operator")
    return start_service(data=data, HALFLIGHT_ROOT_PATH=f"{ROOT}/", HALFLIGHT_FAILED_LOGINS_BURST="200"), key


@pytest.fixture
def proxied(keyed: tuple[Service, str]) -> Iterator[httpx.Client]:
    service, key = keyed
    handler = type("Proxy", (_Proxy,), {"port": service.port})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        Thread(target=proxy.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{proxy.server_address[1]}"
        with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
            yield client
        proxy.shutdown()


def test_behind_a_proxy_the_documentation_and_the_api_are_found(
    proxied: httpx.Client, keyed: tuple[Service, str]
) -> None:
    console = proxied.get(f"{ROOT}/")
    assert console.status_code == 200
    (style,) = re.findall(r'href="\./(assets/[^"]+\.css)"', console.text)
    assert proxied.get(f"{ROOT}/{style}").headers["content-type"].startswith("text/css")
    page = proxied.get(f"{ROOT}/docs")
    assert page.status_code == 200
    links = set(re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", page.text))
    assert {link for link in links if link.startswith("/")} >= {f"{ROOT}/openapi.json"}
    for link in links:
        if link.startswith("/"):
            assert link.startswith(f"{ROOT}/"), link
            assert proxied.get(link).status_code == 200, link
    document = proxied.get(f"{ROOT}/openapi.json").json()
    assert document["servers"] == [{"url": ROOT}]
    photo = sample_bytes("s01")
    enrolled = proxied.post(
        f"{ROOT}/v1/enroll", data={"subject_id": "behind"}, files={"images": ("p.jpg", photo, "image/jpeg")}
    )
    assert enrolled.status_code == 201
    found = proxied.post(f"{ROOT}/v1/identify", content=photo, headers={"content-type": "image/jpeg"})
    assert found.json()["results"][0]["candidates"][0]["subject_id"] == "behind"
    # A proxy that leaves its prefix, and whoever asks without a proxy, reach the same routes.
    service, key = keyed
    with service.client(key) as direct:
        for path in ("/subjects", "/v1/subjects", f"{ROOT}/subjects", f"{ROOT}/v1/subjects"):
            assert [one["subject_id"] for one in direct.get(path).json()["subjects"]] == ["behind"], path
        # The console's relative links lead right from here alone.
        for path in (ROOT, f"{ROOT}/v1", f"{ROOT}/v1/", "/v1"):
            assert direct.get(path).headers["location"] == f"{ROOT}/", path
        assert direct.get("/").text == console.text


def test_no_spelling_of_a_path_passes_the_guard(keyed: tuple[Service, str]) -> None:
    service, key = keyed
    ours = (*ODD, *(ROOT + path for path in ODD))
    for path in (*ours, "/v1/subjects", f"{ROOT}/v1/subjects"):
        answer = send(service, head(path, "Connection: close", method="GET"))
        assert answer.split(b" ")[1] in (b"401", b"404"), path
        # With a key each is either the list itself or nothing at all.
        known = send(service, head(path, f"Authorization: Bearer {key}", "Connection: close", method="GET"))
        assert known.split(b" ")[1] in (b"200", b"404"), path
        assert (answer.split(b" ")[1] == b"401") == (known.split(b" ")[1] == b"200"), path
    long = head("/v1/subjects/x", f"Authorization: Bearer {key}", length=70_000, method="PATCH")
    assert send(service, long + b" " * 70_000).split(b" ")[1] == b"413"


def test_v1_and_the_bare_path_share_options_limits_and_labels(client: httpx.Client) -> None:
    assert client.get("/v1/subjects").json() == client.get("/subjects").json()
    refused = problem(client.get("/v1/subjects?limitt=1"), 422, "invalid_parameter")
    assert "did you mean `limit`?" in refused["detail"]
    problem(client.put("/v1/subjects"), 405, "method_not_allowed")
    assert client.put("/v1/subjects").headers["allow"] == client.put("/subjects").headers["allow"] == "GET"
    counted = client.get("/v1/metrics").text
    assert 'route="/subjects"' in counted
    assert "/v1" not in counted
    assert client.get("/v1/").headers["location"] == "/"
    assert client.get("/v1/openapi.json").json() == client.get("/openapi.json").json()


def test_the_openapi_document_names_each_operation_once() -> None:
    app = create_app(Settings())
    document = app.openapi()
    operations = [one["operationId"] for found in document["paths"].values() for one in found.values()]
    assert len(operations) == len(set(operations))
    assert all(path.startswith("/v1/") for path in document["paths"])
    assert document["servers"] == [{"url": "/"}]


@pytest.mark.parametrize("path", ["faces", "/a b", "/a//b", "/..", "/a/../b", "/v1", "/subjects/x", "/a?b"])
def test_a_prefix_that_cannot_work_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="prefix"):
        Settings(root_path=path)


def test_no_prefix_can_hide_a_route() -> None:
    documented = {path.split("/")[2] for path in create_app(Settings()).openapi()["paths"]}
    assert len(documented) >= 9
    assert documented | {"docs", "openapi.json", "v1", "assets"} <= OWN_PATHS
