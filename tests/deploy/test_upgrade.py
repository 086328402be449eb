"""Tests that this version serves what version 0.4.2 stored: that version itself makes the data."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from service.settings import builtin_bundle
from tests.conftest import ANSWER_S, REPO, START_S, Service, free_port, sample_bytes

# The commit "Version 0.4.2".
OLD = "98df3dd"
SUBJECTS = ("s01", "s02", "s03")

pytestmark = pytest.mark.slow


@pytest.fixture
def old_tree(tmp_path: Path) -> Path:
    """The source of 0.4.2 with the bundle that came with it."""
    found = subprocess.run(["git", "archive", OLD], cwd=REPO, capture_output=True)
    if found.returncode:
        pytest.skip("the clone lacks the history: git fetch --unshallow")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


@contextmanager
def running_old(tree: Path, data: Path) -> Iterator[httpx.Client]:
    """A client of a service of 0.4.2 on `data`."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("HALFLIGHT_")}
    env |= {"PYTHONPATH": str(tree), "HALFLIGHT_BUNDLE_DIR": str(tree / "models" / "halflight-1")}
    command = [sys.executable, "-m", "service.cli.main", "serve", "--port", str(port), "--data", str(data)]
    with (data.parent / "old.log").open("w") as log:
        process = subprocess.Popen(command, cwd=tree, env=env, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_S) as client:
            end = time.monotonic() + START_S
            ready = False
            while not ready:
                assert process.poll() is None, (data.parent / "old.log").read_text()[-2000:]
                assert time.monotonic() < end
                time.sleep(0.2)
                with suppress(httpx.TransportError):
                    ready = client.get("/health/ready").status_code == 200
            yield client
    finally:
        process.terminate()
        process.wait(timeout=60)


def enrol_old(client: httpx.Client) -> None:
    for subject in SUBJECTS:
        form = {"subject_id": subject, "metadata": f'{{"desk": "{subject}-desk"}}', "allow_duplicate": "true"}
        files = {"images": sample_bytes(subject, "vis_1.jpg")}
        assert client.post("/enroll", data=form, files=files).status_code == 201


def first_of(client: httpx.Client, subject: str, photo: str, spectrum: str) -> dict[str, object]:
    answer = client.post(f"/identify?spectrum={spectrum}", files={"image": sample_bytes(subject, photo)})
    first: dict[str, object] = answer.raise_for_status().json()["results"][0]["candidates"][0]
    return first


def test_data_of_0_4_2_are_served_sealed_and_moved_to_the_new_network(old_tree: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with running_old(old_tree, data) as client:
        enrol_old(client)
        before = {subject: first_of(client, subject, "vis_1.jpg", "vis")["score"] for subject in SUBJECTS}
    assert b"s01-desk" in (data / "halflight.db").read_bytes(), "0.4.2 stored metadata in clear"

    service = Service(data, {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle())}).start()
    try:
        with service.client() as client:
            listed = {
                one["subject_id"]: one["metadata"] for one in client.get("/subjects").json()["subjects"]
            }
            assert listed == {subject: {"desk": f"{subject}-desk"} for subject in SUBJECTS}
            for subject in SUBJECTS:
                found = first_of(client, subject, "vis_1.jpg", "vis")
                # The same network and template; how a photo is decoded and aligned has changed since.
                assert found["subject_id"] == subject
                assert found["score"] == pytest.approx(before[subject], abs=0.05)
            old, new = _spaces(client)
            client.post(f"/admin/spaces/{new}/backfill").raise_for_status()
            end = time.monotonic() + ANSWER_S
            while _state(client, new) != "ready":
                assert time.monotonic() < end, "the new space does not become ready"
                time.sleep(0.5)
            client.post(f"/admin/spaces/{new}/activate").raise_for_status()
            assert client.get("/health/ready").json()["space_id"] == new != old
            for subject in SUBJECTS:
                assert first_of(client, subject, "nir_masked_1.jpg", "nir")["subject_id"] == subject
    finally:
        assert service.stop() == 0
    assert not (data / "crop.key").exists(), "what it opened is sealed under the master key now"
    for path in data.glob("halflight.db*"):
        assert b"s01-desk" not in path.read_bytes()


def _spaces(client: httpx.Client) -> tuple[str, str]:
    """The active space, and the one of the bundle that this version comes with."""
    spaces = {one["state"]: one["space_id"] for one in client.get("/admin/spaces").json()["spaces"]}
    return spaces["active"], spaces["registered"]


def _state(client: httpx.Client, space_id: str) -> str:
    spaces = client.get("/admin/spaces").json()["spaces"]
    return str(next(one["state"] for one in spaces if one["space_id"] == space_id))
