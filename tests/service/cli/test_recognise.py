"""Tests `halflight identify`, `verify` and `subjects` against a running service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Service, sample_bytes
from tests.service.cli.command import fails, halflight, mirrored, photo, succeeds

SUBJECT = "cli.known@a-b_c:smile:"


@pytest.fixture(scope="module")
def known(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The enrolled photo of `cli-known`, a subject that no other test's photo shows."""
    path = photo(tmp_path_factory.mktemp("known"), "known.png", mirrored("s09"))
    succeeds("enroll", "cli-known", path, "--allow-duplicate", env={"HALFLIGHT_URL": service.url})
    return path


@pytest.fixture
def env(service: Service, known: Path) -> dict[str, str]:
    return {"HALFLIGHT_URL": service.url}


def test_identify_prints_the_candidates_as_a_table(known: Path, env: dict[str, str]) -> None:
    result = succeeds("identify", known, "--top-k", "1", env=env)
    (row,) = result.cells()
    assert row[:3] == [str(known), "1", "vis unmasked"]
    assert "cli-known" in row
    assert row[-1] == "match"
    assert "1.000" in row


def test_identify_prints_the_answer_of_the_service_as_json(
    known: Path, env: dict[str, str], tmp_path: Path
) -> None:
    probe = photo(tmp_path, "probe.png", mirrored("s09", "nir_masked_1.jpg"))
    lines = succeeds("identify", known, probe, "--json", "--top-k", "2", "--fmr", "1e-3", env=env).lines()
    assert [line["file"] for line in lines] == [str(known), str(probe)]
    face, masked = (line["results"][0] for line in lines)
    assert face["candidates"][0]["subject_id"] == "cli-known"
    assert face["candidates"][0]["score"] == pytest.approx(1, abs=1e-4)
    assert face["decision"] == "match"
    assert face["target_fmr"] == 1e-3
    assert face["condition"].items() >= {"spectrum": "vis", "masked": False}.items()
    assert masked["condition"].items() >= {"spectrum": "nir", "masked": True}.items()
    assert len(masked["candidates"]) <= 2


def test_an_unknown_face_is_an_answer_not_a_failure(known: Path, env: dict[str, str]) -> None:
    result = succeeds("identify", known, "--threshold", "1", "--json", env=env)
    (line,) = result.lines()
    assert line["results"][0]["threshold"] == 1
    assert line["results"][0]["target_fmr"] is None
    table = succeeds("identify", known, "--threshold", "-1", "--top-k", "1", env=env).cells()
    assert table[0][-1] == "match"


def test_a_refused_probe_does_not_stop_the_others(known: Path, env: dict[str, str], tmp_path: Path) -> None:
    broken = photo(tmp_path, "broken.png", b"\x89PNG\r\n\x1a\n cut")
    gone = tmp_path / "gone.png"
    advice = "→ the file is damaged or incomplete: copy or export it again"
    expected = [f"{broken}: ", "(undecodable_image)", advice, f"{gone}: No such file"]
    result = fails(1, "identify", broken, known, gone, "--top-k", "1", expected=expected, env=env)
    assert len(result.cells()) == 1
    lines = halflight("identify", broken, known, "--json", env=env).lines()
    assert [line["file"] for line in lines] == [str(known), str(broken)]
    assert lines[1]["problem"]["code"] == "undecodable_image"


def test_verify_compares_with_a_subject_or_another_picture(
    known: Path, env: dict[str, str], tmp_path: Path
) -> None:
    (row,) = succeeds("verify", known, "--subject", "cli-known", env=env).cells()
    assert row[-1] == "match"
    assert "cli-known" in row
    other = photo(tmp_path, "other.jpg", sample_bytes("s02"))
    strict = ["--threshold", "0.99", "--json"]
    (answer,) = succeeds("verify", known, "--reference", other, *strict, env=env).lines()
    assert answer["decision"] == "non-match"
    assert answer["score"] < answer["threshold"] == 0.99
    (same,) = succeeds("verify", known, "--reference", known, *strict, env=env).lines()
    assert same["decision"] == "match"
    assert same["score"] == pytest.approx(1, abs=1e-4)


def test_an_fmr_without_a_threshold_is_refused_with_the_calibrated_points(
    known: Path, env: dict[str, str]
) -> None:
    expected = ["(unsupported_fmr)", "→ choose one of the calibrated points"]
    fails(1, "verify", known, "--subject", "cli-known", "--fmr", "1e-9", expected=expected, env=env)


def test_whatever_fails_names_the_file(tmp_path: Path, known: Path, env: dict[str, str]) -> None:
    broken, gone = photo(tmp_path, "broken.jpg", b"\xff\xd8\xff\xe0 cut short"), tmp_path / "gone.jpg"
    fails(1, "identify", broken, expected=[f"{broken}: ", "(undecodable_image)"], env=env)
    pair = [f"{known} and {broken}: ", "(undecodable_image)"]
    fails(1, "verify", known, "--reference", broken, expected=pair, env=env)
    told = fails(1, "verify", known, "--reference", gone, expected=[f"{gone}: No such file"], env=env)
    assert told.err.count(str(gone)) == 1
    nowhere = {"HALFLIGHT_URL": "http://127.0.0.1:1"}
    fails(1, "identify", known, expected=[f"{known}: no service answers"], env=nowhere)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["identify", "a.jpg", "--fmr", "1e-3", "--threshold", "0.5"], "give --fmr or --threshold"),
        (["verify", "a.jpg"], "give --subject or --reference"),
        (["verify", "a.jpg", "--subject", "x", "--reference", "b.jpg"], "give --subject or --reference"),
        (["identify"], "Missing argument"),
        (["identify", "a.jpg", "--top-k", "0"], "--top-k"),
    ],
)
def test_a_usage_error_exits_with_2_and_names_the_mistake(arguments: list[str], expected: str) -> None:
    fails(2, *arguments, expected=[expected])


@pytest.mark.slow
def test_a_subject_is_listed_shown_changed_and_erased(env: dict[str, str], tmp_path: Path) -> None:
    photos = [photo(tmp_path, f"{i}.jpg", sample_bytes("s08", f"vis_{i}.jpg")) for i in (1, 2)]
    succeeds("enroll", SUBJECT, *photos, "--allow-duplicate", env=env)
    listed = succeeds("subjects", "list", env=env)
    assert [SUBJECT, "2"] in [row[:2] for row in listed.cells()]
    assert f"{len(listed.cells())} subjects" in listed.err
    succeeds("subjects", "set", SUBJECT, "--metadata", '{"floor": 3}', env=env)
    entries = succeeds("subjects", "list", "--json", env=env).lines()
    (entry,) = (entry for entry in entries if entry["subject_id"] == SUBJECT)
    assert entry["metadata"] == {"floor": 3}
    shown = succeeds("subjects", "show", SUBJECT, env=env)
    (detail,) = succeeds("subjects", "show", SUBJECT, "--json", env=env).lines()
    first, second = (sample["sample_id"] for sample in detail["samples"])
    assert first in shown.out
    assert '{"floor": 3}' in shown.out
    (row,) = succeeds("subjects", "delete", SUBJECT, "--sample", first, env=env).cells()
    assert row[:3] == [f"{SUBJECT} / {first}", "1", "1"]
    (left,) = succeeds("subjects", "show", SUBJECT, "--json", env=env).lines()
    assert [sample["sample_id"] for sample in left["samples"]] == [second]
    (receipt,) = succeeds("subjects", "delete", SUBJECT, "--json", env=env).lines()
    assert receipt["erased"]["templates"] == 1
    advice = "→ `halflight subjects list` shows who is enrolled"
    fails(1, "subjects", "delete", SUBJECT, expected=["(subject_not_found)", advice], env=env)
    assert SUBJECT not in succeeds("subjects", "list", env=env).out
