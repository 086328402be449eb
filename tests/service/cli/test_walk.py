"""The first-time walk by the command line alone: enrol, identify, calibrate, review, erase.

The steps are one walk: each goes on with the gallery of the one before.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.cli.samples import load_samples
from service.settings import builtin_bundle
from tests.conftest import Service
from tests.service.cli.command import fails, photo, succeeds
from tests.service.live.reader import WAIT_S
from training.data.lfw import Split, read_lfw

STRANGER, PASSER_BY = "s13", "s14"
CAMERA = "door-1"
PEOPLE = 44


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()), "HALFLIGHT_KEEP_PROBES_HOURS": "1"}
    data = tmp_path_factory.mktemp("walk") / "data"
    key = succeeds("keys", "create", "--role", "admin", "--label", "walk", "--data", data).out.strip()
    service = Service(data, env)
    service.start()
    # What a person would put into the environment of a shell.
    os.environ["HALFLIGHT_URL"], os.environ["HALFLIGHT_KEY"] = service.url, key
    yield service
    del os.environ["HALFLIGHT_URL"], os.environ["HALFLIGHT_KEY"]
    service.stop()


@pytest.fixture
def env(running: Service) -> dict[str, str]:
    return {name: os.environ[name] for name in ("HALFLIGHT_URL", "HALFLIGHT_KEY")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of a site: `people/` to enrol, `seen/` from the camera."""
    root = tmp_path_factory.mktemp("site")
    for one in load_samples():
        if one.subject_id not in (STRANGER, PASSER_BY):
            photo(root / "people" / one.subject_id, one.vis[0].name, one.vis[0].read_bytes())
        photo(root / "seen", f"{one.subject_id}.jpg", one.nir_masked[0].read_bytes())
        photo(root / "seen", f"{one.subject_id}-vis.jpg", one.vis[1].read_bytes())
    return root


@pytest.fixture(scope="module")
def labelled(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LFW's people, since the samples are too few for an FMR that a request could ask for."""
    root = tmp_path_factory.mktemp("labelled")
    people = read_lfw(shared / "data" / "lfw.tar", frozenset({Split.VALIDATION}))
    for person in [one for one in people if len(one.photos) > 1][:PEOPLE]:
        first, second, *_ = person.photos
        photo(root / person.name / "references", "1.webp", first.data)
        photo(root / person.name / "probes" / CAMERA, "2.webp", second.data)
    return root


def identified(path: Path, env: dict[str, str], *options: str) -> dict[str, Any]:
    (answer,) = succeeds("identify", path, "--camera", CAMERA, "--json", *options, env=env).lines()
    result: dict[str, Any] = answer["results"][0]
    return result


def kept_unknowns(env: dict[str, str], count: int, *options: str | Path) -> list[dict[str, Any]]:
    """The unknown faces, once there are as many: crops are kept soon after the answer."""
    end = time.monotonic() + WAIT_S
    while True:
        listed = succeeds("unknowns", "list", "--json", *options, env=env).lines()
        if len(listed) == count or time.monotonic() > end:
            assert len(listed) == count
            return listed
        time.sleep(0.2)


@pytest.mark.slow
def test_step_1_people_are_enrolled_and_identified(site: Path, env: dict[str, str], tmp_path: Path) -> None:
    enrolled = succeeds("enroll", site / "people", "--report", tmp_path / "enrolment", env=env)
    assert "12 photos enrolled, 0 files refused, 12 subjects" in enrolled.err
    before = identified(site / "seen" / "s01-vis.jpg", env)
    assert (before["decision"], before["candidates"][0]["subject_id"]) == ("match", "s01")


@pytest.mark.slow
@pytest.mark.realdata
def test_step_2_the_camera_is_measured_and_its_thresholds_installed_and_back(
    running: Service, site: Path, labelled: Path, env: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "evaluation"
    told = succeeds("evaluate", labelled, "--to", out, "--service", running.url, env=env)
    assert f"{PEOPLE} people against unmasked VIS references: supports FMR 0.01" in told.err
    measured = json.loads((out / "thresholds.json").read_text())
    (camera,) = (one for one in measured["cameras"] if one["camera"] == CAMERA)
    (point,) = (each for pair in camera["pairs"] for each in pair["points"])
    assert point["fmr"] == 0.01
    bundles = identified(site / "seen" / "s01-vis.jpg", env, "--fmr", "0.01")
    (made,) = succeeds("thresholds", "install", out / "thresholds.json", "--json", env=env).lines()
    ours = identified(site / "seen" / "s01-vis.jpg", env, "--fmr", "0.01")
    assert ours["threshold"] == pytest.approx(point["threshold"], abs=1e-6)
    assert ours["threshold"] != bundles["threshold"]
    facts = {"version": made["version"], "camera": CAMERA, "fmr_upper": point["fmr_upper"]}
    assert facts.items() <= ours["calibration"].items()
    assert "bundle's own thresholds decide" in succeeds("thresholds", "activate", "bundle", env=env).err
    back = identified(site / "seen" / "s01-vis.jpg", env, "--fmr", "0.01")
    assert back["threshold"] == bundles["threshold"]
    succeeds("thresholds", "activate", str(made["version"]), env=env)
    again = identified(site / "seen" / "s01-vis.jpg", env, "--fmr", "0.01")
    assert again["threshold"] == ours["threshold"]


@pytest.mark.slow
def test_step_3_a_stranger_becomes_a_subject_and_a_passer_by_is_ignored_then_forgotten(
    site: Path, env: dict[str, str], tmp_path: Path
) -> None:
    strict = ("--threshold", "0.99")
    for name in (STRANGER, STRANGER, PASSER_BY):
        assert identified(site / "seen" / f"{name}-vis.jpg", env, *strict)["decision"] == "unknown"
    pictures = tmp_path / "unknown"
    passer_by, stranger = kept_unknowns(env, 2, "--pictures", pictures)
    assert (stranger["count"], stranger["cameras"], passer_by["count"]) == (2, [CAMERA], 1)
    for one in (stranger, passer_by):
        picture = pictures / f"{one['unknown_id']}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_mode & 0o777 == 0o600
    succeeds("unknowns", "enrol", stranger["unknown_id"], STRANGER, "--display-name", "Mr Stranger", env=env)
    known = identified(site / "seen" / f"{STRANGER}-vis.jpg", env)["candidates"][0]
    assert (known["subject_id"], known["decision"]) == (STRANGER, "match")
    succeeds("unknowns", "ignore", passer_by["unknown_id"], env=env)
    assert kept_unknowns(env, 0) == []
    assert kept_unknowns(env, 1, "--ignored")[0]["unknown_id"] == passer_by["unknown_id"]
    succeeds("unknowns", "ignore", passer_by["unknown_id"], "--undo", env=env)
    (forgotten,) = succeeds("unknowns", "forget", passer_by["unknown_id"], "--json", env=env).lines()
    assert forgotten == {"unknown_id": passer_by["unknown_id"], "erased": 1}
    gone = ["unknown_not_found", "halflight unknowns list"]
    fails(1, "unknowns", "forget", passer_by["unknown_id"], expected=gone, env=env)
    assert kept_unknowns(env, 0, "--ignored") == []

    (last,) = succeeds("events", "--json", "--recent", "1", env=env).lines()
    assert (last["decision"], last["subject"]["display_name"]) == ("match", "Mr Stranger")
    shown = succeeds("events", "--recent", "2", env=env).out.splitlines()
    assert len(shown) == 2
    for part in ("match", f"{STRANGER} (Mr Stranger)", CAMERA, "vis unmasked", last["event_id"]):
        assert part in shown[1]
    noted = succeeds("correct", last["event_id"], "s01", env=env).err
    assert f"the decision named {STRANGER}; the face is that of s01" in noted


@pytest.mark.slow
def test_step_4_subjects_are_erased_over_http_and_on_the_machine_with_a_search_for_what_is_left(
    running: Service, env: dict[str, str]
) -> None:
    (receipt,) = succeeds("subjects", "delete", "s02", "--json", env=env).lines()
    assert receipt["erased"]["samples"] == 1
    (erased,) = succeeds("erase", STRANGER, "--verify", "--data", running.data, "--json").lines()
    # The two sightings were of one file.
    assert (erased["erased"]["samples"], erased["found"]) == (1, [])
    left = {one["subject_id"] for one in succeeds("subjects", "list", "--json", env=env).lines()}
    assert left == {one.subject_id for one in load_samples()} - {"s02", STRANGER, PASSER_BY}
    assert running.stop() == 0
