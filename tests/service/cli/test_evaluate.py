"""Tests `halflight evaluate` against a running service, and with the same bundle in the command's process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from service.cli.samples import load_samples
from service.evaluation.kept import NAME
from service.settings import builtin_bundle
from tests.conftest import Service
from tests.service.cli.command import HALFLIGHT, environment, fails, photo, succeeds

POINTS = ("--fmr", "0.1", "--fmr", "0.05")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered people, a reference and a camera's probes each, with a torn file and one of a wall."""
    root = tmp_path_factory.mktemp("labelled") / "site"
    for subject in load_samples():
        for path in subject.vis[:1]:
            photo(root / subject.subject_id / "references", path.name, path.read_bytes())
        for path in subject.nir_masked:
            photo(root / subject.subject_id / "probes" / "door-1", path.name, path.read_bytes())
    first = load_samples()[0]
    photo(root / "s01" / "probes", "torn.jpg", first.vis[0].read_bytes()[:2000])
    grey = np.full((64, 64, 3), 90, np.uint8)
    photo(root / "s02" / "probes" / "door-1", "wall.bmp", cv2.imencode(".bmp", grey)[1].tobytes())
    return root


def facts(out: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    return read


def test_a_service_and_its_bundle_give_the_same_figures(
    builtin: Service, labelled: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    over_http = succeeds("evaluate", labelled, "--to", there, "--service", builtin.url, *POINTS)
    succeeds("evaluate", labelled, "--to", here, "--bundle", builtin_bundle(), *POINTS)
    one, other = facts(there), facts(here)
    assert [p["coverage"] for p in one["pairs"]] == [p["coverage"] for p in other["pairs"]]
    for a, b in zip(one["pairs"], other["pairs"], strict=True):
        assert [p["threshold"] for p in a["suggested"]] == pytest.approx(
            [p["threshold"] for p in b["suggested"]], abs=2e-4
        )
    assert one["gallery_templates"] == 0
    assert other["gallery_templates"] is None
    assert one["bundle"].startswith("halflight-2")
    assert "supports FMR 0.05" in over_http.err
    assert not (there / NAME).exists()


def test_failures_are_named_and_broken_files_left_out(
    labelled: Path, builtin: Service, tmp_path: Path
) -> None:
    done = succeeds("evaluate", labelled, "--to", tmp_path, "--service", builtin.url, *POINTS)
    assert "s01/probes/torn.jpg" in done.out
    assert "s02/probes/door-1/wall.bmp" in done.out
    found = facts(tmp_path)
    assert {(one["name"], one["code"], one["broken"]) for one in found["lost"]} == {
        ("s01/probes/torn.jpg", "undecodable_image", True),
        ("s02/probes/door-1/wall.bmp", "no_face", False),
    }
    everybody = next(a for a in found["acquisition"] if a["role"] == "probe" and a["camera"] is None)
    assert (everybody["attempts"], everybody["failed"], everybody["broken"]) == (29, 1, 1)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") >= 20
    plain = tmp_path / "plain"
    succeeds("evaluate", labelled, "--to", plain, "--service", builtin.url, "--no-pictures", *POINTS)
    assert "<img" not in (plain / "report.html").read_text()


def test_a_killed_run_goes_on_with_the_same_command(labelled: Path, builtin: Service, tmp_path: Path) -> None:
    arguments = [
        "evaluate",
        str(labelled),
        "--to",
        str(tmp_path),
        "--service",
        builtin.url,
        *POINTS,
        "--jobs",
        "1",
    ]
    process = subprocess.Popen([*HALFLIGHT, *arguments], env=environment(), stderr=subprocess.DEVNULL)
    kept = tmp_path / NAME
    for _ in range(6000):
        if kept.exists() and kept.read_bytes().count(b"\n") >= 5:
            break
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = kept.read_bytes().count(b"\n")
    done = succeeds(*arguments)
    assert f"{before} photos were described before" in done.err
    assert facts(tmp_path)["probes"] == 30


def test_a_key_without_the_role_and_a_missing_service_are_said_in_a_sentence(
    labelled: Path, tmp_path: Path
) -> None:
    fails(
        1,
        *("evaluate", labelled, "--to", tmp_path, "--service", "http://127.0.0.1:9"),
        expected=["no service answers"],
    )
    fails(2, "evaluate", tmp_path, "--to", tmp_path / "out", expected=["there are no"])
    both = ("--bundle", builtin_bundle(), "--data", tmp_path)
    fails(2, "evaluate", labelled, "--to", tmp_path / "out", *both, expected=["one of them"])


def test_the_bundle_of_a_data_directory_is_that_of_its_active_space(
    builtin: Service, labelled: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    for name in ("s01", "s02", "s03"):
        shutil.copytree(labelled / name, small / name)
    succeeds("evaluate", small, "--to", tmp_path / "out", "--data", builtin.data)
    found = facts(tmp_path / "out")
    assert found["bundle"].startswith("halflight-2")
    assert found["thresholds"] is None
    assert not (tmp_path / "out" / "thresholds.json").exists()


def measured(space_id: str, threshold: float, cohort: str | None = None) -> dict[str, Any]:
    """A table as `halflight evaluate` writes it, with more people than the samples have."""
    sides = {"reference": {"spectrum": "vis", "masked": False}, "probe": {"spectrum": "nir", "masked": True}}
    point = {"fmr": 1e-2, "threshold": threshold, "fmr_upper": 0.013}
    pair = {**sides, "subjects": 60, "mated": 200, "non_mated": 11_800, "points": [point]}
    table: dict[str, Any] = {
        "format": 1,
        "space_id": space_id,
        "made_at": "2026-11-29",
        "data": "60 subjects",
    }
    table["cohort"] = cohort
    return table | {"cameras": [{"camera": "door-1", "pairs": [pair]}]}


@pytest.mark.slow
def test_thresholds_are_installed_listed_and_rolled_back(builtin: Service, tmp_path: Path) -> None:
    env = {"HALFLIGHT_URL": builtin.url}
    with builtin.client() as client:
        known = client.get("/admin/thresholds").json()
    space_id, cohort = known["space_id"], known["cohort"]
    file = tmp_path / "thresholds.json"
    file.write_text(json.dumps(measured(space_id, 0.61, cohort)))
    done = succeeds("thresholds", "install", file, "--note", "first winter", "--json", env=env)
    (made,) = done.lines()
    version = str(made["version"])
    listed = succeeds("thresholds", "list", env=env)
    assert "first winter" in listed.out
    assert f"version {version}, camera door-1" in listed.out
    assert f"version {version} decides; default FMR 0.0001" in listed.err
    whole = tmp_path / "evaluation.json"
    whole.write_text(
        json.dumps({"kind": "halflight-evaluation", "thresholds": measured(space_id, 0.62, cohort)})
    )
    again = succeeds("thresholds", "install", whole, env=env)
    assert "at the default, 0.0001, the bundle's threshold decides" in again.err
    succeeds("thresholds", "activate", version, env=env)
    assert f"version {version} decides" in succeeds("thresholds", "list", env=env).err
    assert "the bundle's own thresholds decide" in succeeds("thresholds", "activate", "bundle", env=env).err
    fails(1, "thresholds", "activate", "4711", env=env, expected=["thresholds_not_found", "thresholds list"])
    file.write_text("no JSON")
    fails(1, "thresholds", "install", file, env=env, expected=["is no JSON", "halflight evaluate"])
    file.write_text(json.dumps({"kind": "halflight-evaluation", "thresholds": None}))
    fails(1, "thresholds", "install", file, env=env, expected=["holds no thresholds"])
    file.write_text(json.dumps(measured(space_id, 0.6)))
    fails(1, "thresholds", "install", file, env=env, expected=["invalid_thresholds", "plain cosines"])
    file.write_text(json.dumps(measured("sp-other", 0.6)))
    fails(1, "thresholds", "install", file, env=env, expected=["invalid_thresholds", "another model"])
