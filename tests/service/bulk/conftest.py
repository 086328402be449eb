"""A service to fill by bulk enrolments, empty again after each test."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from service.settings import builtin_bundle
from tests.conftest import Service

BUILTIN = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle())}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose gallery only these tests fill."""
    running = Service(tmp_path_factory.mktemp("bulk") / "data", BUILTIN).start()
    yield running
    running.stop()


@pytest.fixture
def web(own: Service) -> Iterator[httpx.Client]:
    """The gallery is empty again after each test."""
    with own.client() as client:
        yield client
        if found := [one["subject_id"] for one in client.get("/subjects").json()["subjects"]]:
            client.post("/subjects/delete", json={"subject_ids": found}).raise_for_status()
