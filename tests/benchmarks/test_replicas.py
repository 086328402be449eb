"""Replicas that are killed under load lose nothing, and late writes are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.replicas.callers import Seen
from benchmarks.replicas.campaign import parsed, report, run, timed
from tests.service.store.postgres import fresh_database, pgvector_binaries, running_server


@pytest.mark.slow
def test_three_replicas_outlive_a_kill_and_show_each_other_all_at_once(tmp_path: Path) -> None:
    asked = parsed(["--kills", "1", "--between", "2", "--down", "0.5"])
    with (
        pgvector_binaries() as binaries,
        running_server(binaries, icu=False) as server,
        fresh_database(server) as url,
    ):
        played, callers, course = run(asked, tmp_path, url)
    assert played.told.faults == []
    assert course.kills == 1
    assert len(course.starts_s) == 1
    assert played.ledger.enrolled > 0
    assert played.ledger.identified > 0
    assert not any(one.missed for one in (*callers.enrolments, *callers.erasures))
    assert f"0 of {played.ledger.enrolled + played.ledger.erased} acknowledged writes lost" in report(
        played, callers, course, asked
    )


def test_a_write_that_was_shown_late_is_counted_with_its_time() -> None:
    seen = [Seen(0, 0.001, 0.1), Seen(2, 0.4, 0.5)]
    first, second = timed("enrolments", seen)
    assert "2 looked for at another replica; 1 not in its first answer" in first
    assert second.startswith("    asked after 200, 396, 400 ms and shown; answered after 300, 496, 500 ms")
    assert timed("erasures", []) == ["  none of the erasures was looked for at another replica"]


def test_one_replica_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(["--replicas", "1"])
    assert "one replica has no other" in capsys.readouterr().err
