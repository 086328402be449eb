"""Tests that an erasure reaches what jobs of a bulk enrolment keep: journals, reports, photos in work."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from service.bulk.journal import JOURNAL, Journal
from service.bulk.types import Conflict, ConflictKind, Outcome
from service.bulk.uploads import forget_photos
from service.subjects.residue import Trace, search
from tests.conftest import Service, sample_bytes
from tests.service.bulk.test_bulk_job import BROKEN, ended, rows_of, submitted, until

ERASED, ALIKE, OTHER = "erase-me-wholly", "looks-like-them", "somebody-else"


def pictures(own: Service, job_id: str) -> dict[str, bytes]:
    """The small pictures that a job's journal keeps, by file."""
    with closing(sqlite3.connect(own.data / "jobs" / job_id / "bulk" / JOURNAL)) as journal:
        rows = journal.execute("SELECT name, picture FROM outcomes WHERE picture IS NOT NULL").fetchall()
    return dict(rows)


def places(directory: Path, *wanted: Trace) -> list[str]:
    """Files that show one of these, or bear its name."""
    return [one.path.name for one in search([directory], wanted)[0]]


def id_trace(subject_id: str) -> Trace:
    return Trace("subject id", (subject_id.encode(),))


@pytest.mark.slow
def test_the_report_of_a_job_shows_an_erased_subject_and_its_pictures_no_more(
    web: httpx.Client, own: Service
) -> None:
    files = {
        f"{ERASED}/1.jpg": sample_bytes("s02"),
        f"{ERASED}/broken.jpg": BROKEN,
        f"{ALIKE}/1.jpg": sample_bytes("s02", "vis_2.jpg"),
        f"{OTHER}/1.jpg": sample_bytes("s03"),
        f"{OTHER}/broken.jpg": BROKEN,
    }
    job_id = submitted(web, files)
    assert ended(web, job_id)["state"] == "succeeded"
    before = {row["file"]: row for row in rows_of(web, job_id)}
    assert before[f"{ALIKE}/1.jpg"]["other_subject"] == ERASED
    shown = pictures(own, job_id)
    alike = shown[f"{ALIKE}/1.jpg"]
    faces = Trace("thumbnail", tuple(alike[i : i + 32] for i in range(0, len(alike) - 32, 97)))
    assert places(own.data, id_trace(ERASED))
    assert places(own.data, faces)

    new = {"subject_id": "renamed-since-then"}
    assert web.patch(f"/subjects/{ERASED}", json=new).status_code == 200
    assert web.delete("/subjects/renamed-since-then").status_code == 200
    assert places(own.data, id_trace(ERASED), id_trace(ALIKE), faces) == []
    assert {row["file"] for row in rows_of(web, job_id)} == {f"{OTHER}/1.jpg", f"{OTHER}/broken.jpg"}
    page = web.get(f"/enroll/bulk/{job_id}/report").text
    assert f"{OTHER}/broken.jpg" in page
    assert ERASED not in page

    # Never enrolled, refused under this id, then enrolled, then erased: its rows go as well.
    again = submitted(web, {f"{ERASED}/broken.jpg": BROKEN, f"{OTHER}/1.jpg": sample_bytes("s03")})
    assert ended(web, again)["state"] == "succeeded"
    form = {"subject_id": ERASED}
    assert web.post("/enroll", data=form, files={"images": sample_bytes("s05")}).status_code == 201
    assert {row["subject"] for row in rows_of(web, again)} == {ERASED, OTHER}
    assert web.delete(f"/subjects/{ERASED}").status_code == 200
    assert places(own.data, id_trace(ERASED)) == []
    assert {row["subject"] for row in rows_of(web, again)} == {OTHER}


@pytest.mark.slow
def test_who_is_erased_while_a_job_runs_is_enrolled_no_more_and_stands_in_no_file(
    web: httpx.Client, own: Service
) -> None:
    people = [f"{ERASED}-{i:02}" for i in range(1, 15)]
    files = {
        f"{subject}/{i}.jpg": sample_bytes(f"s{number:02}", f"vis_{i}.jpg")
        for number, subject in enumerate(people, 1)
        for i in (1, 2)
    }
    job_id = submitted(web, files, duplicates="ignore", allow_mismatch="true")
    first, last = people[0], people[-1]
    until(web, job_id, lambda _job: web.get(f"/subjects/{first}").status_code == 200)
    assert web.delete(f"/subjects/{first}").status_code == 200
    job = ended(web, job_id)
    assert job["state"] == "succeeded"
    assert web.get(f"/subjects/{last}").status_code == 200
    assert places(own.data, id_trace(first)) == []
    assert web.get(f"/subjects/{first}").status_code == 404
    assert first not in {row["subject"] for row in rows_of(web, job_id)}


def outcome(name: str, subject: str | None, **more: object) -> Outcome:
    return Outcome(name=name, subject_id=subject, **more)  # type: ignore[arg-type]


def test_a_journal_forgets_whoever_its_rows_name_and_takes_nothing_more_of_them(tmp_path: Path) -> None:
    twin = (Conflict(ConflictKind.TWO_SUBJECTS, "ada"),)
    with Journal(tmp_path, {"upload": "x"}, commit_every=1) as journal:
        journal.add(outcome("ada/1.jpg", "ada", picture=b"face of ada" * 9))
        journal.add(outcome("ada/2.txt", None, code="unreadable_file"))
        journal.add(outcome("bo/1.jpg", "bo", code="duplicate_face", conflicts=twin, picture=b"ada too" * 9))
        journal.add(outcome("cy/1.jpg", "cy"))
        assert journal.unknown_people(9) == {"ada": True, "bo": False, "cy": True}
        journal.note({"ada": "key-a", "cy": "key-c"})
        assert journal.unknown_people(9) == {"bo": False}
        assert journal.forget({"key-a", "key-z"}) == ["ada"]
        assert [one.name for one in journal.outcomes()] == ["cy/1.jpg"]
        for late in (outcome("ada/3.jpg", "ada"), outcome("bo/2.jpg", "bo", conflicts=twin)):
            journal.add(late)
        journal.note({"ada": "key-b"})
        assert (journal.key_ids(), len(journal)) == ({"key-c"}, 1)
        for path in tmp_path.iterdir():
            assert b"ada" not in path.read_bytes(), path.name
    with Journal(tmp_path, None) as again:
        assert again.is_gone("ada")
        assert not again.is_gone("cy")


def test_a_journal_of_an_earlier_version_is_begun_anew(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / JOURNAL)) as old:
        old.execute("CREATE TABLE run (asked TEXT NOT NULL)")
        old.execute("CREATE TABLE outcomes (position INTEGER PRIMARY KEY, name TEXT)")
        old.execute("INSERT INTO outcomes VALUES (1, 'ada/1.jpg')")
        old.commit()
    with Journal(tmp_path, {"upload": "x"}) as journal:
        assert len(journal) == 0
        journal.add(outcome("bo/1.jpg", "bo"))
        assert len(journal) == 1


def test_photos_in_work_are_erased_by_folder_and_by_list(tmp_path: Path) -> None:
    by_folder, by_list = (tmp_path / f"upload-{letter * 32}" / "set" for letter in "ab")
    for subject in ("ada", "bo"):
        (by_folder / subject).mkdir(parents=True)
        (by_folder / subject / "1.jpg").write_bytes(b"x")
    by_list.mkdir(parents=True)
    for name in ("1.jpg", "2.jpg", "both.jpg"):
        (by_list / name).write_bytes(b"x")
    rows = [("ada", "1.jpg"), ("bo", "2.jpg"), ("ada", "both.jpg"), ("bo", "both.jpg")]
    (by_list / "manifest.csv").write_text("subject,path\n" + "".join(f"{s},{p}\n" for s, p in rows))
    for upload in (by_folder, by_list):
        forget_photos(tmp_path, upload.parent.name, ["ada", "..", "nobody"])
    assert sorted(path.name for path in by_folder.iterdir()) == ["bo"]
    assert sorted(path.name for path in by_list.iterdir()) == ["2.jpg", "both.jpg", "manifest.csv"]
    with (by_list / "manifest.csv").open(newline="") as file:
        left = [(row["subject"], row["path"]) for row in csv.DictReader(file)]
    assert left == [("bo", "2.jpg"), ("bo", "both.jpg")]
