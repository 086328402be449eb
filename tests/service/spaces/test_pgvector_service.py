"""Services over the gallery of PostgreSQL: no lag between replicas, a server that goes away, the way back."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify, problem
from tests.service.cli.command import fails, succeeds
from tests.service.store.postgres import Server, fresh_database, server

ENV = {
    "HALFLIGHT_MASTER_KEY": "ab" * 32,
    "HALFLIGHT_AUDIT_KEY": "cd" * 32,
    "HALFLIGHT_GALLERY": "pgvector",
    # Whoever followed the log would see nothing for a minute.
    "HALFLIGHT_LOG_POLL_S": "60",
}
WAIT_S = 60.0


@pytest.fixture
def own_server(pgvector_server: Server) -> Iterator[Server]:
    """A server that a test may stop; another one runs for the others."""
    with server(Path(pgvector_server.command[0]).parent, icu=False) as running:
        yield running


def best(client: httpx.Client, photo: bytes) -> str | None:
    answer = identify(client, photo)
    assert answer.status_code == 200, answer.text
    found = answer.json()["results"][0]
    return found["candidates"][0]["subject_id"] if found["decision"] == "match" else None


@pytest.mark.slow
@pytest.mark.parametrize("index", ["hnsw", "exact"])
def test_replicas_see_each_other_at_once_and_outlive_their_server(
    own_server: Server, start_service: StartService, tmp_path: Path, index: str
) -> None:
    with fresh_database(own_server.address) as url:
        env = ENV | {"HALFLIGHT_DATABASE_URL": url, "HALFLIGHT_GALLERY_INDEX": index}
        one = start_service(data=tmp_path / "one", **env)
        two = start_service(data=tmp_path / "two", **env)
        with one.client() as here, two.client() as there:
            for client, other, subject in ((here, there, "s01"), (there, here, "s02"), (here, there, "s03")):
                assert enroll(client, subject, sample_bytes(subject)).status_code == 201
                assert best(other, sample_bytes(subject)) == subject
            again = enroll(there, "twin", sample_bytes("s01"), allow_duplicate="false")
            problem(again, 409, "duplicate_face")
            assert here.delete("/subjects/s01").status_code == 200
            assert best(there, sample_bytes("s01")) != "s01"
            assert enroll(there, "twin", sample_bytes("s01")).status_code == 201

            own_server.stop()
            assert identify(here, sample_bytes("s02")).status_code == 503
            assert here.get("/health/ready").status_code == 503
            assert enroll(there, "s04", sample_bytes("s04")).status_code == 503
            own_server.start()
            wait_ready(one)
            assert best(here, sample_bytes("s02")) == "s02"
            assert enroll(there, "s04", sample_bytes("s04")).status_code == 201
            assert best(here, sample_bytes("s04")) == "s04"
        one.kill()
        one = start_service(data=tmp_path / "one", **env)
        with one.client() as here:
            assert best(here, sample_bytes("s03")) == "s03"
            assert here.get("/health/ready").json()["templates"] == 4


@pytest.mark.slow
def test_the_way_to_the_gallery_of_the_database_and_back(
    pgvector_url: str, start_service: StartService, tmp_path: Path
) -> None:
    env = ENV | {"HALFLIGHT_DATABASE_URL": pgvector_url}
    embedded = env | {"HALFLIGHT_GALLERY": "embedded"}
    running = start_service(data=tmp_path / "one", **embedded)
    with running.client() as client:
        assert enroll(client, "s01", sample_bytes("s01")).status_code == 201
    running.stop()
    # Templates from before get their search vectors at the start.
    running = start_service(data=tmp_path / "one", **env)
    with running.client() as client:
        assert best(client, sample_bytes("s01")) == "s01"
        assert enroll(client, "s02", sample_bytes("s02")).status_code == 201
    running.stop()
    command = ["serve", "--port", "0", "--data", str(tmp_path / "one"), "--database-url", pgvector_url]
    environment = {name: value for name, value in embedded.items() if name in os.environ or name in embedded}
    fails(2, *command, env=environment, expected=["halflight gallery erase"])
    succeeds("gallery", "erase", "--database-url", pgvector_url, env=embedded)
    running = start_service(data=tmp_path / "one", **embedded)
    with running.client() as client:
        assert [best(client, sample_bytes(name)) for name in ("s01", "s02")] == ["s01", "s02"]


def test_a_database_without_pgvector_stops_the_start_with_a_sentence(
    tmp_path: Path, bundle_dir: Path
) -> None:
    env = {"HALFLIGHT_GALLERY": "pgvector"}
    result = fails(
        2, "serve", "--port", "0", "--data", tmp_path / "data", env=env, expected=["needs PostgreSQL"]
    )
    assert len(result.err.splitlines()) == 1


def wait_ready(service: Service) -> None:
    end = time.monotonic() + WAIT_S
    with service.client() as client:
        while client.get("/health/ready").status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
