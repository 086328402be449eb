"""Tests `halflight models` on temporary caches."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faces.bundle import read, verify
from service.bundles.catalogue import CATALOGUE, EVERY_MODEL, TRUNKS
from tests.conftest import REPO
from tests.service.cli.command import fails, succeeds

YUNET = CATALOGUE[0]


@pytest.fixture
def env(tmp_path: Path, bundle_dir: Path) -> dict[str, str]:
    """An empty cache, and a directory that has every file."""
    return {"HALFLIGHT_CACHE": str(tmp_path / "cache"), "HALFLIGHT_MODEL_DIR": str(bundle_dir)}


def cached(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models"


def states(env: dict[str, str]) -> list[object]:
    return [row["state"] for row in succeeds("models", "list", "--json", env=env).lines()]


def test_the_list_has_every_file_with_its_licence_and_state(env: dict[str, str], tmp_path: Path) -> None:
    rows = succeeds("models", "list", env=env).cells()
    assert [row[0] for row in rows] == [model.name for model in EVERY_MODEL]
    assert [row[2] for row in rows] == [model.licence for model in EVERY_MODEL]
    assert {row[-1] for row in rows} == {"missing"}
    (line, *_) = succeeds("models", "list", "--json", env=env).lines()
    assert (line["sha256"], line["bytes"], line["url"]) == (YUNET.sha256, YUNET.size, YUNET.url)
    assert not (tmp_path / "cache").exists(), "looking changes nothing"


@pytest.mark.slow
def test_pull_fills_the_cache_and_builds_the_bundle(env: dict[str, str], tmp_path: Path) -> None:
    result = succeeds("models", "pull", env=env)
    for model in CATALOGUE:
        assert f"{model.name}: {env['HALFLIGHT_MODEL_DIR']} ({model.licence})" in result.err
    bundle = tmp_path / "cache" / "bundles" / "reference"
    assert f"is ready in {bundle}" in result.err
    verify(read(bundle))
    assert states(env) == ["ok"] * len(CATALOGUE) + ["missing"] * len(TRUNKS)
    assert {row[-1] for row in succeeds("models", "verify", env=env).cells()} == {"ok"}
    again = succeeds("models", "pull", env=env)
    assert all(f"{model.name}: cache" in again.err for model in CATALOGUE)


def test_pull_of_one_name_fetches_only_that_file(env: dict[str, str], tmp_path: Path) -> None:
    succeeds("models", "pull", "yunet", env=env)
    assert [path.name for path in cached(tmp_path).iterdir()] == [YUNET.file_name]
    assert states(env) == ["ok", "missing", "missing"] + ["missing"] * len(TRUNKS)


@pytest.mark.slow
def test_verify_reports_a_damaged_file_and_pull_repairs_it(env: dict[str, str], tmp_path: Path) -> None:
    succeeds("models", "pull", env=env)
    file = cached(tmp_path) / YUNET.file_name
    file.write_bytes(bytes(YUNET.size))
    result = fails(
        1, "models", "verify", expected=["not every file is whole", "→ `halflight models pull`"], env=env
    )
    assert result.cells()[0] == ["yunet", "different"]
    succeeds("models", "pull", env=env)
    assert states(env) == ["ok"] * len(CATALOGUE) + ["missing"] * len(TRUNKS)


@pytest.mark.slow
def test_pull_without_a_source_lists_what_it_tried(tmp_path: Path, bundle_dir: Path) -> None:
    # A copy of the packages elsewhere, without models beside it.
    elsewhere = tmp_path / "home" / "checkout"
    for package in ("service", "faces"):
        shutil.copytree(REPO / package, elsewhere / package, ignore=shutil.ignore_patterns("samples"))
    place, lost = tmp_path / "place", CATALOGUE[1]
    shutil.copytree(bundle_dir, place)
    (place / lost.file_name).write_bytes(b"another")
    env = {"HALFLIGHT_CACHE": str(tmp_path / "cache"), "HALFLIGHT_MODEL_DIR": str(place)}
    expected = [
        f"{lost.file_name} cannot be had",
        "another file than the pinned one",
        "no download",
        lost.sha256,
    ]
    fails(1, "models", "pull", lost.name, expected=expected, env=env, cwd=elsewhere)
    succeeds("models", "pull", "yunet", env=env, cwd=elsewhere)
    assert [path.name for path in cached(tmp_path).iterdir()] == [YUNET.file_name]


@pytest.mark.slow
def test_info_prints_every_fact_of_one_file(env: dict[str, str]) -> None:
    for name in (YUNET.name, YUNET.file_name):
        facts = dict(
            line.split(maxsplit=1) for line in succeeds("models", "info", name, env=env).out.splitlines()
        )
        assert facts["sha256"] == YUNET.sha256
        assert facts["licence"] == YUNET.licence
        assert facts["origin"] == YUNET.origin
    (line,) = succeeds("models", "info", YUNET.name, "--json", env=env).lines()
    assert line["url"] == YUNET.url


@pytest.mark.parametrize("command", ["info", "pull"])
def test_an_unknown_model_is_a_usage_error_that_lists_the_known_ones(
    command: str, env: dict[str, str], tmp_path: Path
) -> None:
    fails(
        2, "models", command, "nothing", expected=["no model nothing", *(m.name for m in CATALOGUE)], env=env
    )
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path, bundle_dir: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    env = {"HALFLIGHT_CACHE": str(tmp_path / "file"), "HALFLIGHT_MODEL_DIR": str(bundle_dir)}
    fails(1, "models", "pull", expected=["cannot be written: Not a directory"], env=env)
