"""A change of the model over HTTP, with two replicas on one database and requests all the while."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from faces.bundle import read
from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify, problem
from tests.service.spaces.load import Load
from tests.service.spaces.support import (
    make_ready,
    oracle,
    space_of,
    variant,
    wait_ended,
    wait_state,
)

SUBJECTS = ("s01", "s02", "s03", "s04", "s05", "s06")
PROBES = dict.fromkeys(SUBJECTS, "nir_masked_1.jpg")
QUICK = {"HALFLIGHT_LOG_POLL_S": "0.05", "HALFLIGHT_INTRA_OP_THREADS": "1"}


@pytest.mark.slow
def test_activation_and_rollback_under_load_on_two_replicas(
    start_service: StartService, tmp_path: Path, bundle_dir: Path, database_url: str
) -> None:
    """Over SQLite, and over PostgreSQL."""
    data = tmp_path / "shared"
    env = QUICK | {"HALFLIGHT_DATABASE_URL": database_url}
    wide = variant(bundle_dir, data / "bundles" / "wide")
    one = start_service(data=data, **env)
    two = start_service(data=data, **env)
    old, new = read(bundle_dir).manifest.space_id, wide.space_id
    oracles = [oracle(place, SUBJECTS, PROBES) for place in (bundle_dir, data / "bundles" / "wide")]
    with one.client() as here, two.client() as there:
        for subject in SUBJECTS[:-1]:
            assert enroll(here, subject, sample_bytes(subject)).status_code == 201
        assert there.get(f"/admin/spaces/{new}").status_code == 404
        assert make_ready(here, "wide") == new
        # Written to both spaces, and by a replica that was never told of the new one.
        assert enroll(there, SUBJECTS[-1], sample_bytes(SUBJECTS[-1])).status_code == 201
        for space_id in (old, new):
            seen = space_of(here, space_id)
            assert (seen["templates"], seen["missing"]) == (len(SUBJECTS), 0)
        probes = {subject: sample_bytes(subject, name) for subject, name in PROBES.items()}
        with Load([one, two], probes) as load:
            for space_id in (new, old, new):
                activated = here.post(f"/admin/spaces/{space_id}/activate")
                assert activated.status_code == 200, activated.text
                assert activated.json()["state"] == "active"
                # In the replica that was asked at once, in the other one soon.
                assert identify(here, sample_bytes("s01", PROBES["s01"])).json()["space_id"] == space_id
                load.until(one, space_id)
                load.until(two, space_id)
        assert set(load.check(oracles)) == {old, new}
        states = {s["space_id"]: s["state"] for s in there.get("/admin/spaces").json()["spaces"]}
        assert states == {old: "ready", new: "active"}
        retire_and_delete(here, old, new)
        wait_gone(there, old)
        assert identify(there, sample_bytes("s02", PROBES["s02"])).json()["space_id"] == new
    one.stop()
    # The bundle that is configured makes the space that was deleted: it is registered, no more.
    again = start_service(data=data, **env)
    with again.client() as client:
        oracles[1].check("s03", identify(client, sample_bytes("s03", PROBES["s03"])).json())
        assert space_of(client, old)["state"] == "registered"
    assert again.log is not None
    assert "/activate" in again.log.read_text()


def retire_and_delete(client: httpx.Client, old: str, new: str) -> None:
    problem(client.delete(f"/admin/spaces/{new}"), 409, "space_not_ready")
    problem(client.post(f"/admin/spaces/{new}/retire"), 409, "space_not_ready")
    problem(client.post(f"/admin/spaces/{new}/backfill"), 409, "space_not_ready")
    assert client.post(f"/admin/spaces/{old}/retire").json()["state"] == "retired"
    # A retired space is written to no more, and may come back.
    assert enroll(client, "late", sample_bytes("s07")).status_code == 201
    assert space_of(client, old)["missing"] == 1
    problem(client.post(f"/admin/spaces/{old}/activate"), 409, "space_not_ready")
    assert client.post(f"/admin/spaces/{old}/backfill").status_code == 202
    assert wait_state(client, old, "ready")["missing"] == 0
    erased = client.delete("/subjects/late").json()["erased"]
    assert erased == {"samples": 1, "templates": 2, "crops": 2}
    assert client.delete(f"/admin/spaces/{old}").json() == {"space_id": old, "templates": len(SUBJECTS)}
    problem(client.get(f"/admin/spaces/{old}"), 404, "space_not_found")
    problem(client.delete(f"/admin/spaces/{old}"), 404, "space_not_found")


def wait_gone(client: httpx.Client, space_id: str) -> None:
    end = time.monotonic() + 10
    while client.get(f"/admin/spaces/{space_id}").status_code != 404:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_invalid_bundles_are_refused_and_new_thresholds_need_no_backfill(
    start_service: StartService, tmp_path: Path, bundle_dir: Path
) -> None:
    data = tmp_path / "own"
    same = variant(bundle_dir, data / "bundles" / "recalibrated", columns=(8, 104), name="recalibrated")
    broken = data / "bundles" / "broken"
    variant(bundle_dir, broken, name="broken")
    (broken / same.encoder.probe.path).write_bytes(b"no network")
    uncalibrated = read(bundle_dir).manifest.model_copy(update={"calibration": None, "name": "raw"})
    variant(bundle_dir, data / "bundles" / "raw")
    (data / "bundles" / "raw" / "manifest.json").write_text(uncalibrated.model_dump_json())
    with start_service(data=data, **QUICK).client() as client:
        for name, told in (("broken", "digest"), ("none", "holds no bundle"), ("raw", "no thresholds")):
            refused = problem(client.post("/admin/spaces", json={"bundle": name}), 422, "invalid_parameter")
            assert told in refused["detail"]
        for name in ("../wide", "/etc", "sha256", ""):
            problem(client.post("/admin/spaces", json={"bundle": name}), 422, "invalid_parameter")
        probe = sample_bytes("s01", "nir_masked_1.jpg")
        before = identify(client, probe).json()
        assert client.post("/admin/spaces", json={"bundle": "recalibrated"}).status_code == 201
        after = identify(client, probe).json()
        assert after["space_id"] == before["space_id"]
        shift = after["results"][0]["threshold"] - before["results"][0]["threshold"]
        assert abs(shift - 0.015) < 1e-9
        (space,) = client.get("/admin/spaces").json()["spaces"]
        assert space["bundle"]["name"] == "recalibrated"
        assert space["metrics"]["fnmr"].keys() == {"vis-unmasked", "vis-masked", "nir-unmasked", "nir-masked"}


def test_without_crops_a_model_change_means_re_enrolment(
    start_service: StartService, tmp_path: Path, bundle_dir: Path
) -> None:
    data = tmp_path / "none"
    variant(bundle_dir, data / "bundles" / "wide")
    with start_service(data=data, HALFLIGHT_KEEP_CROPS="false", **QUICK).client() as client:
        assert enroll(client, "s01", sample_bytes("s01")).status_code == 201
        space_id = client.post("/admin/spaces", json={"bundle": "wide"}).json()["space_id"]
        asked = client.post(f"/admin/spaces/{space_id}/backfill")
        assert "re-enrolment" in asked.json()["message"]
        ended = wait_ended(client, space_id)
        assert ended["state"] == "backfilling"
        assert ended["backfill"]["without_crop"] == 1
        refused = client.post(f"/admin/spaces/{space_id}/activate")
        assert "re-enrolment" in problem(refused, 409, "space_not_ready")["detail"]
        # Sent anew, the same photo is the same sample, now in both spaces.
        (again,) = enroll(client, "s01", sample_bytes("s01")).json()["samples"]
        assert again["existing"]
        assert client.post(f"/admin/spaces/{space_id}/backfill").status_code == 202
        wait_state(client, space_id, "ready")
        assert client.post(f"/admin/spaces/{space_id}/activate").status_code == 200
        assert client.delete("/subjects/s01").json()["erased"] == {"samples": 1, "templates": 2, "crops": 0}


def rows(data: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(data / "halflight.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_crops_are_encrypted_and_erased_with_their_subject(
    start_service: StartService, tmp_path: Path
) -> None:
    data = tmp_path / "kept"
    with start_service(data=data, **QUICK).client() as client:
        for subject in ("s01", "s02"):
            assert enroll(client, subject, sample_bytes(subject)).status_code == 201
        assert rows(data, "SELECT COUNT(*) FROM crops") == [(4,)]
        (sealed,) = rows(data, "SELECT sealed FROM crops LIMIT 1")[0]
        assert b"PNG" not in sealed
        assert client.delete("/subjects/s01").json()["erased"] == {"samples": 1, "templates": 1, "crops": 2}
        assert rows(data, "SELECT COUNT(*) FROM crops") == [(2,)]
    assert (data / "master.key").stat().st_mode & 0o777 == 0o600
