"""Tests `halflight subjects`: search, names, rename, merge, erasure of several."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.conftest import Service, sample_bytes
from tests.service.cli.command import fails, photo, succeeds


@pytest.fixture
def env(service: Service) -> dict[str, str]:
    return {"HALFLIGHT_URL": service.url}


@pytest.mark.slow
def test_subjects_are_named_found_renamed_merged_and_erased(tmp_path: Path, env: dict[str, str]) -> None:
    one = photo(tmp_path, "1.jpg", sample_bytes("s06"))
    two = photo(tmp_path, "2.jpg", sample_bytes("s06", "vis_2.jpg"))
    succeeds("enroll", "sub-a", one, "--display-name", "Zoë Müller", "--duplicates", "ignore", env=env)
    fails(1, "enroll", "sub-b", one, expected=["(duplicate_face)", "--duplicates ignore"], env=env)
    told = succeeds("enroll", "sub-b", one, "--duplicates", "report", env=env)
    assert f"{one}: looks like subject sub-a (score 1.000)" in told.err
    succeeds("enroll", "sub-b", two, "--duplicates", "ignore", "--metadata", '{"desk": 4}', env=env)

    def found(*options: str) -> list[str]:
        listed = succeeds("subjects", "list", "--id-prefix", "sub-", *options, "--json", env=env).lines()
        return [subject["subject_id"] for subject in listed]

    assert found() == ["sub-a", "sub-b"]
    assert found("--name", "zoe mul") == ["sub-a"]
    assert found("--metadata", "desk=4") == found("--metadata", "desk") == ["sub-b"]
    assert found("--spectrum", "vis", "--unmasked", "--since", "2020-01-01") == ["sub-a", "sub-b"]
    assert found("--masked", "--spectrum", "nir") == []
    succeeds("subjects", "set", "sub-b", "--display-name", "李小龍", env=env)
    assert succeeds("subjects", "show", "sub-b", env=env).cells()[0][1] == "李小龍"
    succeeds("subjects", "set", "sub-b", "--display-name", "", env=env)
    fails(1, "subjects", "rename", "sub-b", "sub-a", expected=["(subject_exists)", "subjects merge"], env=env)
    succeeds("subjects", "rename", "sub-b", "sub-c", env=env)
    (merged,) = succeeds("subjects", "merge", "sub-a", "sub-c", "--json", env=env).lines()
    assert (merged["moved"], merged["already_there"], merged["samples"]) == (1, 1, 2)
    fails(2, "subjects", "set", "sub-a", expected=["--display-name"], env=env)
    fails(2, "subjects", "delete", "sub-a", "sub-x", "--sample", "s", expected=["takes one subject"], env=env)
    gone = fails(1, "subjects", "delete", "sub-a", "sub-x", expected=["1 of 2", "sub-x"], env=env)
    assert gone.cells()[0][:2] == ["sub-a", "2"]
    assert found() == []


@pytest.mark.slow
def test_a_hold_is_placed_shown_and_lifted_and_terms_are_set(
    tmp_path: Path, env: dict[str, str], service: Service
) -> None:
    one = photo(tmp_path, "1.jpg", sample_bytes("s07"))
    given = ("--consent-date", "2026-03-01", "--consent-reference", "form 12")
    succeeds("enroll", "sub-h", one, "--duplicates", "ignore", *given, env=env)
    succeeds("subjects", "hold", "sub-h", "--reason", "case 4711", env=env)
    shown = succeeds("subjects", "show", "sub-h", env=env).cells()[-1]
    assert shown[1:5] == ["local", "case 4711", "2026-03-01", "form 12"]
    fails(1, "subjects", "delete", "sub-h", expected=["(on_hold)", "subjects release"], env=env)
    fails(
        1,
        "erase",
        "sub-h",
        "--data",
        service.data,
        expected=["legal hold", "placed by key local", "subjects release"],
    )
    to = tmp_path / "mine.zip"
    succeeds("subjects", "export", "sub-h", to, env=env)
    assert to.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(to) as archive:
        assert json.loads(archive.read("subject.json"))["terms"]["hold"]["reason"] == "case 4711"
    fails(2, "subjects", "export", "sub-h", to, env=env, expected=["it is there already"])
    nowhere = tmp_path / "nobody.zip"
    fails(1, "subjects", "export", "sub-x", nowhere, env=env, expected=["(subject_not_found)"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.jpg", "mine.zip"]
    (found,) = succeeds("subjects", "release", "sub-h", "--json", env=env).lines()
    assert found["hold"] is None
    fails(1, "subjects", "release", "sub-h", expected=["(hold_not_found)"], env=env)
    end = "2100-01-01T00:00:00+00:00"
    succeeds("subjects", "set", "sub-h", "--no-consent", "--expires-at", end, env=env)
    (found,) = succeeds("subjects", "show", "sub-h", "--json", env=env).lines()
    assert (found["consent"], found["expires_at"]) == (None, end)
    fails(2, "subjects", "set", "sub-h", "--consent-reference", "x", expected=["--consent-date"], env=env)
    succeeds("subjects", "set", "sub-h", "--expires-at", "", env=env)
    succeeds("erase", "sub-h", "--data", service.data)
