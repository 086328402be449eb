"""Services over the gallery of Milvus: no lag between replicas, an absent server, one clear refusal."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify
from tests.service.cli.command import fails, succeeds
from tests.service.spaces.test_pgvector_service import best
from tests.service.store.milvus import MilvusServer

ENV = {
    "HALFLIGHT_MASTER_KEY": "ab" * 32,
    "HALFLIGHT_AUDIT_KEY": "cd" * 32,
    "HALFLIGHT_GALLERY": "milvus",
    "HALFLIGHT_GALLERY_INDEX": "exact",
    # Whoever followed the log would see nothing for a minute.
    "HALFLIGHT_LOG_POLL_S": "60",
}
WAIT_S = 120.0


def wait_identified(client: httpx.Client, photo: bytes) -> str | None:
    """The best match once the service answers again."""
    end = time.monotonic() + WAIT_S
    while identify(client, photo).status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.2)
    return best(client, photo)


@pytest.mark.slow
def test_replicas_see_each_other_at_once_and_outlive_milvus(
    pgvector_url: str, own_milvus: MilvusServer, start_service: StartService, tmp_path: Path
) -> None:
    env = ENV | {"HALFLIGHT_DATABASE_URL": pgvector_url, "HALFLIGHT_MILVUS_URI": own_milvus.uri}
    one = start_service(data=tmp_path / "one", **env)
    two = start_service(data=tmp_path / "two", **env)
    with one.client() as here, two.client() as there:
        for client, other, subject in ((here, there, "s01"), (there, here, "s02")):
            assert enroll(client, subject, sample_bytes(subject)).status_code == 201
            assert best(other, sample_bytes(subject)) == subject
        assert here.delete("/subjects/s01").status_code == 200
        assert best(there, sample_bytes("s01")) != "s01"

        own_milvus.kill()
        assert identify(here, sample_bytes("s02")).status_code == 503
        assert enroll(there, "s04", sample_bytes("s04")).status_code == 503
        assert here.delete("/subjects/s02").status_code == 503
        assert here.get("/health/ready").status_code == 503
        own_milvus.start()
        assert wait_identified(here, sample_bytes("s02")) == "s02"
        assert enroll(there, "s04", sample_bytes("s04")).status_code == 201
        assert best(here, sample_bytes("s04")) == "s04"
    one.kill()
    one = start_service(data=tmp_path / "one", **env)
    with one.client() as here:
        assert best(here, sample_bytes("s04")) == "s04"
        assert here.get("/health/ready").json()["templates"] == 2
    one.stop()
    two.stop()
    succeeds("gallery", "erase", "--database-url", pgvector_url, env=env)
    running = start_service(data=tmp_path / "one", **(env | {"HALFLIGHT_GALLERY": "embedded"}))
    with running.client() as client:
        assert best(client, sample_bytes("s04")) == "s04"


@pytest.mark.slow
def test_without_an_address_the_start_ends_with_a_sentence(pgvector_url: str, tmp_path: Path) -> None:
    env = {"HALFLIGHT_GALLERY": "milvus", "HALFLIGHT_DATABASE_URL": pgvector_url}
    result = fails(
        2, "serve", "--port", "0", "--data", tmp_path / "data", env=env, expected=["HALFLIGHT_MILVUS_URI"]
    )
    assert len(result.err.splitlines()) == 1
