"""Tests `halflight enroll`: photos, folders and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Service, sample_bytes
from tests.service.cli.command import fails, halflight, mirrored, photo, succeeds

BROKEN = b"\xff\xd8\xff\xe0 cut short"


@pytest.fixture
def env(service: Service) -> dict[str, str]:
    return {"HALFLIGHT_URL": service.url}


def samples_of(subject: str, env: dict[str, str]) -> int:
    (found,) = succeeds("subjects", "show", subject, "--json", env=env).lines()
    return len(found["samples"])


def test_a_photo_is_enrolled_and_shown_with_its_sample(tmp_path: Path, env: dict[str, str]) -> None:
    ada = photo(tmp_path, "ada.png", mirrored("s10"))
    result = succeeds("enroll", "cli-ada", ada, "--allow-duplicate", env=env)
    (found,) = succeeds("subjects", "show", "cli-ada", "--json", env=env).lines()
    (row,) = result.cells()
    assert row[:2] == [str(ada), "enrolled"]
    assert row[3] == found["samples"][0]["sample_id"]


@pytest.mark.slow
def test_several_photos_and_metadata_are_enrolled_in_one_subject(tmp_path: Path, env: dict[str, str]) -> None:
    photos = [photo(tmp_path, f"{i}.jpg", sample_bytes("s10", f"vis_{i}.jpg")) for i in (1, 2)]
    metadata = {"name": "Bea", "überall": [1, None]}
    given = ["--metadata", json.dumps(metadata), "--allow-duplicate", "--json"]
    (answer,) = succeeds("enroll", "cli-bea", *photos, *given, env=env).lines()
    assert len(answer["samples"]) == 2
    (shown,) = succeeds("subjects", "show", "cli-bea", "--json", env=env).lines()
    assert shown["metadata"] == metadata
    assert samples_of("cli-bea", env) == 2


def test_the_url_option_overrides_the_environment(
    service: Service, tmp_path: Path, env: dict[str, str]
) -> None:
    ada = photo(tmp_path, "a.jpg", sample_bytes("s10"))
    wrong = {"HALFLIGHT_URL": "http://127.0.0.1:1"}
    succeeds("enroll", "cli-url", ada, "--allow-duplicate", "--url", service.url, env=wrong)
    assert samples_of("cli-url", env) == 1


def test_a_broken_photo_is_refused_with_a_hint(tmp_path: Path, env: dict[str, str]) -> None:
    broken = photo(tmp_path, "broken.jpg", BROKEN)
    advice = "→ the file is damaged or incomplete: copy or export it again"
    expected = [f"{broken}: ", "(undecodable_image)", advice]
    result = fails(1, "enroll", "cli-broken", broken, expected=expected, env=env)
    assert result.out == ""
    fails(1, "subjects", "show", "cli-broken", expected=["(subject_not_found)"], env=env)


def test_where_no_photo_is_taken_each_is_named_with_its_reason(tmp_path: Path, env: dict[str, str]) -> None:
    photos = [photo(tmp_path, "broken.jpg", BROKEN), photo(tmp_path, "text.jpg", b"not a picture at all")]
    expected = [f"{photos[0]}: undecodable_image: ", f"{photos[1]}: unsupported_media_type: "]
    fails(1, "enroll", "cli-none", *photos, expected=expected, env=env)


def test_a_broken_photo_among_good_ones_is_named_and_the_good_ones_are_enrolled(
    tmp_path: Path, env: dict[str, str]
) -> None:
    photos = [
        photo(tmp_path, "broken.jpg", BROKEN),
        photo(tmp_path, "good.jpg", sample_bytes("s11")),
        photo(tmp_path, "text.jpg", b"not a picture at all"),
    ]
    result = halflight("enroll", "cli-mixed", *photos, "--allow-duplicate", env=env)
    assert result.code == 1
    rows = result.cells()
    assert [row[:2] for row in rows] == [
        [str(photos[0]), "refused"],
        [str(photos[1]), "enrolled"],
        [str(photos[2]), "refused"],
    ]
    assert rows[0][2].startswith("undecodable_image: ")
    assert rows[2][2].startswith("unsupported_media_type: ")
    assert samples_of("cli-mixed", env) == 1


def test_a_face_that_matches_another_subject_is_refused_with_a_hint(
    tmp_path: Path, env: dict[str, str]
) -> None:
    twin = photo(tmp_path, "twin.jpg", sample_bytes("s12"))
    succeeds("enroll", "cli-one", twin, "--allow-duplicate", env=env)
    fails(1, "enroll", "cli-two", twin, expected=["(duplicate_face)", "--duplicates ignore"], env=env)


def test_a_missing_photo_is_named(tmp_path: Path, env: dict[str, str]) -> None:
    gone = tmp_path / "gone.jpg"
    fails(1, "enroll", "cli-gone", gone, expected=[f"{gone}: No such file or directory"], env=env)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "give SUBJECT and IMAGES, or --folder"),
        (["cli-x"], "give SUBJECT and IMAGES, or --folder"),
        (["cli-x", "a.jpg", "--metadata", "{broken"], "--metadata is no JSON"),
        (["cli-x", "a.jpg", "--metadata", "[1]"], "--metadata must be a JSON object"),
        (["cli-x", "--folder", "."], "--folder takes neither"),
        (["--folder", "does-not-exist"], "does not exist"),
        (["cli-x", "a.jpg", "--spectrum", "uv"], "'uv' is not one of"),
    ],
)
def test_a_usage_error_exits_with_2_and_names_the_mistake(
    arguments: list[str], expected: str, tmp_path: Path
) -> None:
    result = halflight("enroll", *arguments, cwd=tmp_path)
    assert result.code == 2
    assert expected in " ".join(result.err.replace("│", " ").split())


@pytest.mark.slow
def test_a_folder_is_enrolled_reported_and_safe_to_repeat(tmp_path: Path, env: dict[str, str]) -> None:
    root = tmp_path / "people"
    for subject in ("s13", "s14"):
        for i in (1, 2):
            photo(root / f"cli-{subject}", f"{i}.jpg", sample_bytes(subject, f"vis_{i}.jpg"))
    photo(root / "cli-s13", "broken.jpg", BROKEN)
    photo(root / "cli-s13", ".hidden", b"left out")
    photo(root, "stray.jpg", sample_bytes("s13"))
    photo(root / "cli-s14" / "nested", "deep.jpg", sample_bytes("s13"))
    command: list[str | Path] = ["enroll", "--folder", root, "--allow-duplicate"]
    for _ in range(2):
        result = fails(
            1,
            *command,
            expected=["4 photos enrolled, 3 files refused, 2 subjects, 1 other files skipped"],
            env=env,
        )
        assert sorted(row[:2] for row in result.cells()) == [
            ["cli-s13/broken.jpg", "undecodable_image"],
            ["cli-s14/nested", "nested_folder"],
            ["stray.jpg", "no_subject"],
        ]
        assert [samples_of(f"cli-{subject}", env) for subject in ("s13", "s14")] == [2, 2]
    photo(root / "cli-s14", "more.jpg", sample_bytes("s14", "nir_masked_1.jpg"))
    for unwanted in ("cli-s13/broken.jpg", "stray.jpg", "cli-s14/nested/deep.jpg"):
        (root / unwanted).unlink()
    (root / "cli-s14" / "nested").rmdir()
    lines = succeeds(*command, "--json", "--jobs", "2", env=env).lines()
    assert [line["file"] for line in lines] == [
        *("cli-s13/1.jpg", "cli-s13/2.jpg"),
        *("cli-s14/1.jpg", "cli-s14/2.jpg", "cli-s14/more.jpg"),
    ]
    assert [samples_of(f"cli-{subject}", env) for subject in ("s13", "s14")] == [2, 3]


def test_what_is_no_photo_by_its_name_is_skipped_and_counted(tmp_path: Path, env: dict[str, str]) -> None:
    root = tmp_path / "people"
    photo(root / "cli-s12", "1.jpg", sample_bytes("s12"))
    for name in ("Thumbs.db", ".DS_Store", "._1.jpg", "desktop.ini", "notes.TXT", "list.csv", "README"):
        photo(root / "cli-s12", name, b"no photo")
    photo(root, "Thumbs.db", b"no photo")
    photo(root, "subjects.csv", b"no photo")
    photo(root / "__MACOSX", "1.jpg", b"no photo")
    command: list[str | Path] = ["enroll", "--folder", root, "--allow-duplicate"]
    result = succeeds(*command, env=env)
    assert "1 photos enrolled, 0 files refused, 1 subjects, 10 other files skipped" in result.err
    assert result.out == ""
    photo(root / "cli-s12", "notes.jpg", b"words under the name of a photo")
    result = fails(1, *command, expected=["1 photos enrolled, 1 files refused"], env=env)
    assert [row[:2] for row in result.cells()] == [["cli-s12/notes.jpg", "unsupported_media_type"]]


def test_a_failure_that_ends_a_folder_names_the_photo_where_it_ended(
    tmp_path: Path, env: dict[str, str]
) -> None:
    root = tmp_path / "people"
    photo(root / "cli-s12", "1.jpg", sample_bytes("s12"))
    unknown = env | {"HALFLIGHT_KEY": "hl-no-such-key"}
    fails(1, "enroll", "--folder", root, expected=["cli-s12/1.jpg: ", "0 of 1 photos"], env=unknown)
    nowhere = env | {"HALFLIGHT_URL": "http://127.0.0.1:1"}
    fails(1, "enroll", "--folder", root, expected=["cli-s12/1.jpg: no service answers"], env=nowhere)


def test_an_empty_folder_is_a_failure_with_a_hint(tmp_path: Path, env: dict[str, str]) -> None:
    fails(
        1,
        "enroll",
        "--folder",
        tmp_path,
        expected=["holds no photos", "→ it should hold one folder"],
        env=env,
    )
