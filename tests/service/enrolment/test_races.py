"""Two replicas on one database: a face gets one subject, and a subject one face, however they race."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll
from tests.service.cli.command import succeeds
from tests.service.store.postgres import fresh_database

ROUNDS = 6
KEYS = {"HALFLIGHT_MASTER_KEY": "ab" * 32, "HALFLIGHT_AUDIT_KEY": "cd" * 32}


@pytest.fixture(params=["sqlite", "postgresql", "pgvector"])
def replicas(
    request: pytest.FixtureRequest, start_service: StartService, tmp_path: Path
) -> Iterator[tuple[list[httpx.Client], list[str]]]:
    """A client for each of two replicas, and the options that name their database to a command."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            data = tmp_path / "shared"
            services = [start_service(data=data), start_service(data=data)]
            options = ["--data", str(data)]
        else:
            if request.param == "pgvector":
                address = request.getfixturevalue("pgvector_server").address
            else:
                address = request.getfixturevalue("postgres")
            url = stack.enter_context(fresh_database(address))
            gallery = "pgvector" if request.param == "pgvector" else "embedded"
            env = KEYS | {"HALFLIGHT_DATABASE_URL": url, "HALFLIGHT_GALLERY": gallery}
            services = [start_service(data=tmp_path / name, **env) for name in ("one", "two")]
            options = ["--database-url", url]
        yield [stack.enter_context(service.client()) for service in services], options
        for service in services:
            service.kill()


def race(clients: list[httpx.Client], *asked: tuple[str, bytes, dict[str, str]]) -> list[tuple[int, str]]:
    """Both replicas are asked at the same moment; statuses and codes, sorted."""

    def ask(place: int) -> tuple[int, str]:
        subject, photo, options = asked[place]
        answer = enroll(clients[place], subject, photo, **options)
        return answer.status_code, answer.json().get("code", "")

    with ThreadPoolExecutor(2) as pool:
        return sorted(pool.map(ask, (0, 1)))


@pytest.mark.slow
def test_races_between_replicas_have_one_winner(
    replicas: tuple[list[httpx.Client], list[str]],
) -> None:
    clients, database = replicas
    one, other = sample_bytes("s04"), sample_bytes("s10")
    checked = {"allow_duplicate": "false"}
    for number in range(ROUNDS):
        first, second = f"a{number}", f"b{number}"
        found = race(clients, (first, one, checked), (second, one, checked))
        assert found == [(201, ""), (409, "duplicate_face")]
        for subject in (first, second):
            clients[0].delete(f"/subjects/{subject}")
        # Two people under one new subject.
        found = race(clients, ("both", one, {}), ("both", other, {}))
        assert found == [(201, ""), (409, "subject_mismatch")]
        assert len(clients[1].get("/subjects/both").json()["samples"]) == 1
        assert clients[1].delete("/subjects/both").status_code == 200
    succeeds("audit", "verify", *database)
