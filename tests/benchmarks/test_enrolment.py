"""Enrolments over HTTP: turned photos and second photos of rendered people, and how answers are counted."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import second_photos, turned
from benchmarks.enrolment import counted
from tests.conftest import SAMPLES
from training.data.lfw import Split, split_of


def held_out_names(count: int) -> Iterator[str]:
    names = (f"Somebody_{i:03}" for i in itertools.count())
    return itertools.islice((name for name in names if split_of(name) is Split.TEST), count)


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """An archive as LFW's: rendered people with two photos each, and one whose first photo shows nobody."""
    blank = cv2.imencode(".jpg", np.full((144, 144, 3), 90, np.uint8))[1].tobytes()
    folders = sorted(SAMPLES.glob("s*"))[:4]
    with tarfile.open(tmp_path / "faces.tar", "w") as archive:
        for place, (name, folder) in enumerate(zip(held_out_names(4), folders, strict=True)):
            photos = [path.read_bytes() for path in sorted(folder.glob("vis_*.jpg"))]
            for number, data in enumerate([blank, photos[1]] if place == 3 else photos, start=1):
                entry = tarfile.TarInfo(f"lfw/{name}/{name}_{number:04}.jpg")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return tmp_path / "faces.tar"


@pytest.mark.slow
def test_every_turn_of_a_rendered_face_is_undone_and_the_upright_photo_verifies(
    tar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turned.main([str(tar), "--people", "2", "--out", str(tmp_path / "turned.json")])
    facts = json.loads((tmp_path / "turned.json").read_bytes())
    assert facts["command"] == "python -m benchmarks.turned lfw.tar --people 2"
    asked = [(one["turn"], one["rotation"], one["verified"]) for one in facts["trials"]]
    assert asked == 2 * [(0, 0, True), (90, 270, True), (180, 180, True), (270, 90, True)]
    assert "| 180 degrees | 2 of 2 | 2 of 2 | 2 of 2 | - |" in capsys.readouterr().out


@pytest.mark.slow
def test_second_photos_and_strangers_are_told_apart_in_the_gallery_of_the_bulk_run(
    tar: Path, tmp_path: Path
) -> None:
    second_photos.main([str(tar), "--people", "4", "--seconds", "4", "--out", str(tmp_path / "second.json")])
    first, own, strangers, ignoring = json.loads((tmp_path / "second.json").read_bytes())["steps"]
    assert [one["code"] for one in first["trials"]] == [None, None, None, "no_face"]
    assert [one["code"] for one in own["trials"]] == [None, None, None]
    assert own["not_enrolled"] == strangers["not_enrolled"] == 1
    assert {one["code"] for one in strangers["trials"][:2]} <= {"duplicate_face", "subject_mismatch"}
    # Nobody else is asked with `ignore`, so only the subject's own templates can refuse.
    assert {one["code"] for one in ignoring["trials"]} <= {"subject_mismatch", None}
    assert [one["photo"] for one in strangers["trials"]] == [one["photo"] for one in ignoring["trials"]]


def test_a_wrong_rotation_and_each_refusal_are_counted_by_name() -> None:
    trials = (
        turned.Trial("a@90", 90, None, 270, True, 0.9),
        turned.Trial("b@90", 90, None, 90, False, 0.1),
        turned.Trial("c@90", 90, "unsure_orientation"),
    )
    assert [one.right for one in trials] == [True, False, False]
    row = "| 90 degrees | 2 of 3 | 1 of 2 | 1 of 2 | 1 `unsure_orientation` |"
    assert row in turned.TurnedPhotos(trials).table()
    assert counted(["no_face", "multiple_faces", "no_face"]) == "1 `multiple_faces`, 2 `no_face`"


def test_refusals_as_another_person_stand_apart_from_those_for_other_reasons() -> None:
    codes = (None, None, "duplicate_face", "subject_mismatch", "no_face")
    trials = tuple(second_photos.Trial("s", "p", code) for code in codes)
    row = second_photos.Step("second photos", trials, 2).row
    assert row == ("second photos", "5", "2", "1", "1", "1 `no_face`", "2")


def test_too_few_people_are_refused(tar: Path) -> None:
    with pytest.raises(ValueError, match=r"faces\.tar has 4 people of these splits, not 1500"):
        second_photos.chosen_people(tar, 1500)
