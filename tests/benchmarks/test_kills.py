"""Two rounds of kills show no fault, and what somebody takes out of the database afterwards is found."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from benchmarks.kills.campaign import parsed, play, report
from benchmarks.kills.ledger import Fate, Ledger
from benchmarks.kills.rounds import Field, Plan


@pytest.mark.slow
def test_two_kills_lose_nothing(tmp_path: Path) -> None:
    field = Field(tmp_path, Plan(amid_start=0.5), seed=3)
    assert list(play(field, 2)) == [1, 2]
    assert field.told.faults == []
    assert field.told.counts["services"] == 2
    assert field.told.counts["chains verified by command"] == 1
    assert "2 of 2 rounds on SQLite" in report(field.told, parsed(["--rounds", "2"]))


@pytest.mark.slow
def test_what_is_missing_or_changed_in_the_database_is_a_fault(tmp_path: Path) -> None:
    field = Field(tmp_path, Plan(amid_start=0), seed=4)
    with field:
        while not field.ledger.with_fate(Fate.ENROLLED):
            field.play()
        assert field.told.faults == []
        with sqlite3.connect(tmp_path / "data" / "halflight.db") as db:
            db.execute("DELETE FROM subjects WHERE rowid = (SELECT min(rowid) FROM subjects)")
            db.execute("UPDATE crops SET sealed = x'00'")
            db.execute("UPDATE audit_log SET actor = 'nobody' WHERE audit_id = 1")
        db.close()
        field.check()
    found = {fault.split(": ")[1] for fault in field.told.faults}
    assert {"lost", "integrity", "seals", "chain"} <= found


def test_the_ledger_takes_either_outcome_of_what_was_not_answered_and_holds_to_it() -> None:
    ledger = Ledger()
    kept, gone, never = (ledger.new((0,)) for _ in range(3))
    for each in (kept, gone):
        ledger.acknowledged(each, Fate.ENROLLED)
    ledger.acknowledged(gone, Fate.ERASED)
    ledger.settle({kept.subject_id: 1})
    assert ledger.faults == []
    assert never.fate is Fate.ERASED
    ledger.settle({gone.subject_id: 1, never.subject_id: 1, "stranger": 1})
    assert {fault.split(":")[0] for fault in ledger.faults} == {"lost", "returned", "unknown"}
