"""A service that speaks CompreFace's API as well, with a key of each role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import httpx
import pytest

from service.settings import builtin_bundle
from tests.conftest import Service
from tests.service.api.test_access import make_key
from tests.service.compreface.clients import DoubleTake, PythonSdk


@dataclass
class Compatible:
    service: Service
    keys: dict[str, str] = field(repr=False)

    def own(self, role: str = "operator") -> httpx.Client:
        """A client of our own API."""
        return self.service.client(self.keys[role])

    def foreign(self, role: str = "operator") -> httpx.Client:
        """A client of CompreFace's API."""
        return httpx.Client(
            base_url=f"{self.service.url}/api/v1/", headers={"x-api-key": self.keys[role]}, timeout=300
        )

    def double_take(self, role: str = "operator") -> DoubleTake:
        return DoubleTake(self.service.url, self.keys[role])

    def sdk(self, role: str = "operator", options: Mapping[str, object] | None = None) -> PythonSdk:
        return PythonSdk(self.service.url, self.keys[role], options or {})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compatible]:
    data = tmp_path_factory.mktemp("compreface") / "data"
    data.mkdir()
    keys = {role: make_key(data, role) for role in ("probe", "operator", "admin")}
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()), "HALFLIGHT_COMPREFACE": "true"}
    env |= {"HALFLIGHT_RATE_LIMIT_PER_S": "0", "HALFLIGHT_FAILED_LOGINS_PER_S": "0"}
    service = Service(data, env).start()
    yield Compatible(service, keys)
    service.stop()


@pytest.fixture
def compatible(running: Compatible) -> Compatible:
    """The gallery is empty when a test begins."""
    with running.foreign("admin") as admin:
        admin.delete("recognition/subjects").raise_for_status()
    return running
