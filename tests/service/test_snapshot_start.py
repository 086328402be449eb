"""A service that starts from the snapshot of its gallery answers as before, also after an erasure."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import pytest

from service.settings import builtin_bundle
from tests.conftest import Service, sample_bytes

WAIT_S = 120.0
ENV = {
    "HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()),
    "HALFLIGHT_SNAPSHOT_TEMPLATES": "1",
    "HALFLIGHT_SNAPSHOT_S": "0.2",
}


def head_after(data: Path, before: bytes) -> bytes:
    """The head of the snapshot, once it is another than before."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        for path in data.glob("gallery/*/head"):
            if (content := path.read_bytes()) != before:
                return content
        time.sleep(0.05)
    raise AssertionError("no snapshot was written")


def best(client: httpx.Client, name: str) -> str | None:
    answer = client.post("/v1/identify", files={"image": sample_bytes(name, "vis_2.jpg")})
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    return str(result["candidates"][0]["subject_id"]) if result["decision"] == "match" else None


def filled_by(client: httpx.Client) -> set[str]:
    text = client.get("/metrics").text
    return set(re.findall(r'^halflight_gallery_fills_total\{way="(.+?)"\}', text, re.M))


@pytest.mark.slow
def test_a_start_from_a_snapshot_answers_as_before_and_shows_nobody_who_was_erased(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = tmp_path / "data"
    running = Service(data, ENV).start()
    request.addfinalizer(lambda: running.stop())
    with running.client() as client:
        assert filled_by(client) == {"database"}
        for name in ("s05", "s06"):
            answer = client.post(
                "/v1/enroll", data={"subject_id": name}, files={"images": sample_bytes(name)}
            )
            assert answer.status_code == 201, answer.text
    head_after(data, b"")
    # The snapshot may be of the first of the two: the log has the other.
    running.kill()
    running = Service(data, ENV).start()
    with running.client() as client:
        assert filled_by(client) == {"snapshot"}
        assert [best(client, name) for name in ("s05", "s06")] == ["s05", "s06"]
        assert client.delete("/v1/subjects/s06").status_code == 200
    running.kill()
    running = Service(data, ENV).start()
    with running.client() as client:
        assert [best(client, name) for name in ("s05", "s06")] == ["s05", None]
