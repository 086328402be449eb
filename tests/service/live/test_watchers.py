"""What watchers say of themselves: kept by key and name, with its age, and never about a person."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.live import watchers
from service.live.watchers import WatcherBook, WatcherReport
from tests.conftest import StartService
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import problem
from tests.service.api.test_keys import made

REPORT: dict[str, Any] = {
    "waiting": 2,
    "lost": 0,
    "refused": 1,
    "sources": [
        {
            "name": "gate",
            "state": "waiting",
            "frames": 120,
            "reconnects": 3,
            "dropped": {"behind": 4},
            "decisions": {"match": 1},
            "last_decision": "match",
            "last_decided": "2027-01-31T12:00:00+00:00",
            "trouble": "the camera does not answer",
        }
    ],
}


def report(**changed: Any) -> WatcherReport:
    return WatcherReport.model_validate(REPORT | changed)


@pytest.mark.parametrize("wrong", [True, "1", 1.5, -1])
def test_a_count_is_a_number_and_nothing_that_looks_like_one(wrong: object) -> None:
    with pytest.raises(ValidationError):
        report(waiting=wrong)
    assert report(waiting=3.0).waiting == 3


@pytest.mark.parametrize("wrong", [0, 1_800_000_000, "1800000000", True, "2027-01-31T12:00:00"])
@pytest.mark.parametrize("name", ["last_frame", "last_decided"])
def test_a_moment_is_written_as_iso_8601_does(name: str, wrong: object) -> None:
    (source,) = REPORT["sources"]
    with pytest.raises(ValidationError):
        report(sources=[source | {name: wrong}])


def test_the_document_says_what_reasons_may_be_called() -> None:
    properties = WatcherReport.model_json_schema()["$defs"]["SourceReport"]["properties"]
    for name in ("dropped", "decisions"):
        assert properties[name]["propertyNames"] == {"pattern": watchers.WORD}
    (source,) = REPORT["sources"]
    with pytest.raises(ValidationError):
        report(sources=[source | {"dropped": {"Behind": 1}}])


def test_the_latest_report_of_each_key_and_name_is_kept() -> None:
    book = WatcherBook()
    book.tell("k1", "hall", report(waiting=1))
    book.tell("k2", "hall", report(waiting=5))
    book.tell("k1", "hall", report(waiting=0))
    assert [(one.key_id, one.report.waiting) for one in book.all()] == [("k1", 0), ("k2", 5)]
    assert all(0 <= one.age_s() < 60 for one in book.all())


def test_a_report_reaches_the_books_of_other_workers() -> None:
    other = WatcherBook()
    book = WatcherBook(other.take)
    heard = book.tell("k1", "hall", report(waiting=1))
    assert other.all() == book.all() == [heard]


def test_memory_is_bounded_and_a_day_later_a_watcher_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    book = WatcherBook()
    for number in range(watchers.MOST + 3):
        book.tell("k", f"w{number:03}", report())
    assert len(book.all()) == watchers.MOST
    assert book.all()[0].watcher == "w003"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + watchers.FORGET_AFTER_S + 60)
    assert book.all() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"sources": []},
        {"subject": "ada"},
        {"waiting": -1},
        {"sources": [{"name": "gate", "state": "WATCHING<b>"}]},
        {"sources": [{"name": "gate", "state": "watching", "trouble": "x" * 301}]},
        {"sources": [{"name": "gate", "state": "watching", "last_frame": "2027-01-31T12:00:00"}]},
    ],
)
def test_what_is_no_report_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        report(**wrong)


def test_a_probe_key_reports_and_an_operator_reads(start_service: StartService, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    admin_key = make_key(data, "admin")
    service = start_service(data=data)
    with service.client(admin_key) as admin:
        keys = {role: made(admin, role=role) for role in ("probe", "operator")}
        with (
            service.client(keys["probe"]["token"]) as probe,
            service.client(keys["operator"]["token"]) as operator,
        ):
            assert operator.get("/watchers").json() == {"watchers": []}
            answer = probe.put("/watchers/hall", json=REPORT)
            assert (answer.status_code, answer.content) == (204, b"")
            problem(probe.get("/watchers"), 403, "forbidden")
            problem(probe.put("/watchers/no%20name", json=REPORT), 422, "invalid_parameter")
            problem(probe.put("/watchers/hall", json={"sources": []}), 422, "invalid_parameter")
            (heard,) = operator.get("/watchers").json()["watchers"]
        assert (heard["watcher"], heard["key_id"]) == ("hall", keys["probe"]["key_id"])
        assert 0 <= heard["heard_s_ago"] < 60
        source = heard["report"]["sources"][0]
        assert (source["reconnects"], source["last_decision"]) == (3, "match")
        # Asked every few seconds by the console, and about nobody: the audit log says nothing of it.
        assert "/watchers" not in json.dumps(admin.get("/admin/audit").json())
