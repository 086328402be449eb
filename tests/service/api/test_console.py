"""The console's page and files: open, below every prefix, under a strict policy, and in the wheel."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from service.api.console import DIST
from service.evaluation.page import STYLE
from tests.conftest import REPO, Service, StartService
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import problem
from tests.service.api.test_guard import head, send

BUILT = sorted(path.relative_to(DIST).as_posix() for path in DIST.rglob("*") if path.is_file())
# What git holds of these goes into a wheel.
FOR_A_WHEEL = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "faces", "service", "training", "export")


def linked(page: str) -> list[str]:
    """What a page loads or leads to."""
    return re.findall(r"""(?:src|href)=["']([^"']+)""", page)


def policy(answer: httpx.Response) -> dict[str, str]:
    directives = answer.headers["content-security-policy"].split("; ")
    return dict(directive.split(" ", 1) for directive in directives)


def test_the_page_and_all_it_loads_are_open_to_a_browser_without_a_key(
    start_service: StartService, tmp_path: Path
) -> None:
    data = tmp_path / "keyed"
    data.mkdir()
    make_key(data, "admin")
    with start_service(data=data).client() as client:
        page = client.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-cache"
        assets = [link for link in linked(page.text) if link.startswith("./assets/")]
        assert assets
        for link in assets:
            answer = client.get(f"/{link}")
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get("/docs").status_code == 200
        problem(client.get("/subjects"), 401, "unauthorized")


def test_the_policy_lets_nothing_in_from_elsewhere_and_nothing_inline(client: httpx.Client) -> None:
    page = client.get("/")
    allowed = policy(page)
    assert allowed["default-src"] == "'self'"
    # Inline there is one style sheet, that of the report of an evaluation.
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    assert allowed["style-src"] == f"'self' 'sha256-{digest}'"
    assert allowed["frame-ancestors"] == allowed["base-uri"] == allowed["object-src"] == "'none'"
    assert not re.search(r"unsafe|https?:|\*", page.headers["content-security-policy"])
    assert page.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)[^>]*>|\bon\w+=|\bstyle=", page.text)
    # Relative, so that it works below a prefix, and never from another host.
    assert all(link.startswith(("./", "#")) for link in linked(page.text))


def test_head_and_a_second_visit_send_no_body(client: httpx.Client) -> None:
    page = client.get("/")
    seen = client.head("/")
    assert (seen.status_code, seen.content) == (200, b"")
    assert seen.headers["content-length"] == str(len(page.content))
    again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == page.headers["content-security-policy"]


def test_other_paths_stay_the_api(client: httpx.Client) -> None:
    problem(client.get("/nowhere"), 404, "not_found")
    problem(client.get("/index.html"), 404, "not_found")
    problem(client.get("/assets/none.js"), 404, "not_found")
    problem(client.get("/assets/"), 404, "not_found")
    refused = client.post("/")
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "name",
    [
        *("../index.html", "../../__init__.py", "%2e%2e/index.html", "..%2f..%2f__init__.py"),
        *("%2fetc%2fpasswd", "/etc/passwd", "a%00b", "x" * 5000, ".", "%5c..%5cindex.html"),
    ],
)
def test_no_file_outside_the_build_is_served(service: Service, name: str) -> None:
    answer = send(service, head(f"/assets/{name}", "Connection: close", method="GET"))
    assert answer.split(b" ")[1] == b"404", answer[:300]


@pytest.mark.slow
def test_the_wheel_holds_the_build_and_not_its_sources(tmp_path: Path) -> None:
    # A copy of what git would hold: setuptools leaves a build directory where it works.
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *FOR_A_WHEEL],
        cwd=REPO,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        if (REPO / name).is_file():
            copy = tmp_path / "tree" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((REPO / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(tmp_path), "./tree"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        held = [name for name in opened.namelist() if name.startswith("service/console/")]
    assert sorted(held) == [f"service/console/dist/{name}" for name in BUILT]
    assert "index.html" in BUILT
