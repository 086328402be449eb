"""Route x role x permission: every cell of the OpenAPI document answers as it says.

The document names the role of each operation; this asks each operation as every kind of caller.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import Service
from tests.service.api.test_access import make_key
from tests.service.api.test_keys import in_s, made, wait_until_expired

RANKS = {"open": 0, "probe": 1, "operator": 2, "admin": 3}
# Callers that are let in nowhere but at open operations, and those with a key of each role.
STRANGERS = ("no key", "wrong key", "another scheme", "expired", "revoked")
CALLERS = {"probe": 1, "investigator": 1, "operator": 2, "admin": 3}


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str
    role: str
    permissions: frozenset[str]

    @property
    def url(self) -> str:
        """The path with an id that nothing has."""
        parts = ("0123456789ab" if part.startswith("{") else part for part in self.path.split("/"))
        return "/".join(parts)

    def admits(self, caller: str) -> bool:
        """Whether the document says that this kind of caller is let in."""
        permitted = caller == "investigator" and "investigate" in self.permissions
        return permitted or CALLERS[caller] >= RANKS[self.role]


def operations() -> list[Operation]:
    document = create_app(Settings()).openapi()
    return [
        Operation(method.upper(), path, operation["x-role"], frozenset(operation.get("x-permissions", ())))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory, bundle_dir: Path) -> Iterator[dict[str, httpx.Client]]:
    """A client for every kind of caller of one service."""
    data = tmp_path_factory.mktemp("matrix") / "data"
    data.mkdir()
    key = make_key(data, "admin")
    limits = {"HALFLIGHT_FAILED_LOGINS_PER_S": "0", "HALFLIGHT_RATE_LIMIT_PER_S": "0"}
    service = Service(data, limits).start()
    with service.client(key) as admin:
        made_keys = {role: made(admin, role=role)["token"] for role in ("probe", "operator", "admin")}
        made_keys["investigator"] = made(admin, role="probe", permissions=["investigate"])["token"]
        expiring = made(admin, role="admin", expires_at=in_s(8))
        made_keys["expired"] = expiring["token"]
        revoked = made(admin, role="admin")
        admin.delete(f"/admin/keys/{revoked['key_id']}").raise_for_status()
    made_keys["revoked"] = revoked["token"]
    made_keys["wrong key"] = made_keys["admin"][:-4] + "0000"
    clients = {name: service.client(token) for name, token in made_keys.items()}
    clients["no key"] = service.client()
    clients["another scheme"] = service.client()
    clients["another scheme"].headers["authorization"] = f"Basic {made_keys['admin']}"
    wait_until_expired(expiring)
    yield clients
    for client in clients.values():
        client.close()
    service.stop()


def bare(path: str) -> str:
    """A path without the version, below which it is served as well."""
    return path.removeprefix("/v1")


def ask(client: httpx.Client, operation: Operation) -> tuple[int, Any]:
    """Sends an operation without a body, so that whoever is let in changes nothing."""
    # The head alone: a stream of events has no end.
    with client.stream(operation.method, operation.url) as answer:
        if answer.headers["content-type"].startswith("application/problem+json"):
            return answer.status_code, json.loads(answer.read())["code"]
        return answer.status_code, None


def test_every_operation_names_its_role_and_none_is_open_by_accident() -> None:
    found = operations()
    assert {operation.role for operation in found} == set(RANKS)
    opened = {bare(operation.path) for operation in found if operation.role == "open"}
    assert opened == {"/health/live", "/health/ready", "/metrics"}
    for operation in found:
        if bare(operation.path).startswith("/admin"):
            assert operation.role == "admin", operation
        if operation.method != "GET" and operation.role == "probe":
            allowed = ("/identify", "/tracks", "/verify", "/detect", "/watchers/{watcher}")
            assert bare(operation.path) in allowed, operation


def test_strangers_are_let_in_nowhere(callers: dict[str, httpx.Client]) -> None:
    for operation in operations():
        for name in STRANGERS:
            status, code = ask(callers[name], operation)
            if operation.role == "open":
                assert status == 200, (name, operation)
            else:
                assert (status, code) == (401, "unauthorized"), (name, operation)


def test_each_role_is_let_in_where_the_document_says_so(callers: dict[str, httpx.Client]) -> None:
    cells = 0
    for operation in operations():
        for name in CALLERS:
            status, code = ask(callers[name], operation)
            cells += 1
            if not operation.admits(name):
                assert (status, code) == (403, "forbidden"), (name, operation)
            else:
                assert status not in (401, 403), (name, operation)
                assert status < 500, (name, operation, code)
    assert cells == len(operations()) * len(CALLERS)


def test_the_document_says_what_a_permission_adds() -> None:
    document = create_app(Settings()).openapi()
    told = {
        bare(path)
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if "x-permissions" in operation
    }
    assert told == {"/identify", "/verify", "/events"}
