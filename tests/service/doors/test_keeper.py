"""Decisions at a door over a real database and a real relay: audited first, at most once, in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.api.schemas.event_bodies import event_body
from service.audit.verification import verify_log
from service.delivery.channel import Pace, Receiver
from service.delivery.outgoing import Outgoing
from service.delivery.target import Target
from service.delivery.topics import Topics, slug
from service.delivery.webhook import WebhookChannel
from service.doors import keeper as keeper_module
from service.doors.building import build
from service.doors.keeper import DoorKeeper
from service.doors.ledger import DoorLedger
from service.live.decisions import Decision, SeenSubject, SeenTrack, new_event_id
from service.live.door_events import DoorEvent
from service.matching.voting import Votes
from service.store.database import Database
from service.store.records import AuditEntry
from service.store.retention import ClockMark
from service.telemetry import Metrics
from tests.service.doors.support import OPEN_TO_ALL, doors_text, relay
from tests.service.live.test_feed import DECISION
from tests.service.store.support import enrolled, vector

LIVE = "dry_run = false\npause_ms = 0"


def match(subject_id: str = "ada", **changed: Any) -> Decision:
    found = replace(
        DECISION,
        event_id=new_event_id(),
        decision="match",
        subject=SeenSubject(subject_id, None),
        camera="entry",
        score=0.9,
        liveness="none",
    )
    return replace(found, **changed)


class Watched:
    """A keeper, and what it published."""

    def __init__(self, db: Database, keeper: DoorKeeper, events: list[DoorEvent]) -> None:
        self.db, self.keeper, self.events = db, keeper, events

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(one.outcome, one.reason) for one in self.events]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.events) < count:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.01)

    async def audited(self, count: int) -> list[AuditEntry]:
        """The entries about doors, oldest first, once there are so many."""
        async with asyncio.timeout(60):
            while True:
                async with self.db.read() as uow:
                    entries = [one for one in await uow.audit.after(0, 1000) if one.action == "door"]
                if len(entries) >= count:
                    return entries
                await asyncio.sleep(0.01)


@asynccontextmanager
async def keeping(
    db: Database, path: Path, file: str, receiver: Receiver | None = None
) -> AsyncIterator[Watched]:
    await asyncio.to_thread(path.write_text, file)
    found, outputs = build(path)
    metrics, events = Metrics(), list[DoorEvent]()
    ledger = DoorLedger(db, Outgoing(db, metrics, event_body, [] if receiver is None else [receiver]))
    keeper = DoorKeeper(found, outputs, ledger, events.append, metrics)
    await keeper.start()
    try:
        yield Watched(db, keeper, events)
    finally:
        await keeper.close()


async def modes(db: Database, live: bool) -> None:
    """Switches the door `front`, as another replica does."""
    async with db.write() as uow:
        await uow.door_modes.switch("front", live=live, actor="k1")
        await uow.commit()


@pytest.fixture
async def ada(db: Database) -> Database:
    await enrolled(db, "ada", vector(1))
    await enrolled(db, "mallory", vector(2))
    return db


async def test_a_dry_run_says_what_it_would_do_and_does_nothing(ada: Database, tmp_path: Path) -> None:
    with relay(tmp_path / "calls") as opened:
        async with keeping(ada, tmp_path / "doors.toml", doors_text(output=opened.output())) as watched:
            watched.keeper.offer(match())
            watched.keeper.offer(match("mallory"))
            await watched.until(2)
        assert watched.outcomes == [("would_open", "allowed"), ("denied", "denied_by_rule")]
        assert [one.dry_run for one in watched.events] == [True, True]
        assert opened.calls() == []


async def test_an_opening_is_audited_before_and_after_and_pulses_once(ada: Database, tmp_path: Path) -> None:
    (tmp_path / "relay.key").write_text("s3cret-of-the-relay\n")
    with relay(tmp_path / "calls") as opened:
        output = opened.output('header = "X-Relay-Key"\nsecret_file = "relay.key"')
        async with keeping(ada, tmp_path / "doors.toml", doors_text(door=LIVE, output=output)) as watched:
            decision = match()
            watched.keeper.offer(decision)
            entries = await watched.audited(2)
            assert watched.outcomes == [("opening", "allowed"), ("opened", "allowed")]
        (call,) = opened.calls()
    assert (call["path"], call["key"]) == ("/open?relay=1", "s3cret-of-the-relay")
    assert [one.detail["outcome"] for one in entries] == ["opening", "opened"]
    first = entries[0]
    assert first.actor == decision.actor
    assert first.detail == {
        "door": "front",
        "outcome": "opening",
        "reason": "allowed",
        "rule": "everybody",
        "camera": "entry",
        "decision": decision.event_id,
        "dry_run": False,
        "liveness": "none",
    }
    async with ada.read() as uow:
        assert first.subject == await uow.audit.find_name("ada")
    assert (await verify_log(ada)).entries == 2


async def test_the_entries_of_an_erased_subject_name_nobody(ada: Database, tmp_path: Path) -> None:
    async with keeping(ada, tmp_path / "doors.toml", doors_text()) as watched:
        watched.keeper.offer(match())
        (entry,) = await watched.audited(1)
        async with ada.write(erasing=True) as uow:
            await uow.subjects.begin_erasure(["ada"])
            await uow.subjects.end_erasure(["ada"])
            await uow.commit()
        async with ada.read() as uow:
            assert await uow.audit.find_name("ada") is None
        assert (await verify_log(ada)).entries == 1
        # In quotes: digits of a token may spell the name.
        assert '"ada"' not in json.dumps(entry.detail)
        watched.keeper.offer(match())
        await watched.until(2)
    assert watched.outcomes[1] == ("denied", "subject_gone")
    assert watched.events[1].subject is None


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("slow", "output_too_slow"),
        ("fails", "output_refused"),
        ("dies", "output_unreachable"),
        ("redirects", "output_refused"),
    ],
)
async def test_a_relay_that_fails_is_asked_once(
    ada: Database, tmp_path: Path, mode: str, reason: str
) -> None:
    with relay(tmp_path / "calls", mode) as opened:
        file = doors_text(door=LIVE, output=opened.output("timeout_ms = 700"))
        async with keeping(ada, tmp_path / "doors.toml", file) as watched:
            watched.keeper.offer(match())
            entries = await watched.audited(2)
            # Longer than any deadline: nothing comes later.
            await asyncio.sleep(2.5)
        assert len(opened.calls()) == 1
    assert watched.outcomes == [("opening", "allowed"), ("failed", reason)]
    assert entries[1].detail["reason"] == reason


async def test_a_relay_that_is_not_there_opens_nothing_when_it_comes_back(
    ada: Database, tmp_path: Path
) -> None:
    with relay(tmp_path / "gone") as gone:
        output, port = gone.output(), gone.port
    calls: list[int] = []

    async def call(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(1)
        writer.close()

    async with keeping(ada, tmp_path / "doors.toml", doors_text(door=LIVE, output=output)) as watched:
        watched.keeper.offer(match())
        await watched.until(2)
        assert watched.outcomes[1] == ("failed", "output_unreachable")
        async with await asyncio.start_server(call, "127.0.0.1", port):
            await asyncio.sleep(3)
    assert calls == []


async def test_what_cannot_be_audited_does_not_open(ada: Database, tmp_path: Path) -> None:
    with relay(tmp_path / "calls") as opened:
        file = doors_text(door=LIVE, output=opened.output())
        async with keeping(ada, tmp_path / "doors.toml", file) as watched:
            await run(ada, "ALTER TABLE audit_log RENAME TO audit_log_away")
            watched.keeper.offer(match())
            await watched.until(1)
            await run(ada, "ALTER TABLE audit_log_away RENAME TO audit_log")
            await asyncio.sleep(1)
            assert watched.outcomes == [("failed", "audit_unavailable")]
            assert opened.calls() == []
            watched.keeper.offer(match())
            await watched.audited(2)
        assert len(opened.calls()) == 1, "the database is back, and a new decision opens"


async def run(db: Database, statement: str) -> None:
    async with db.write() as uow:
        await uow.connection.execute(text(statement))
        await uow.commit()


@pytest.mark.parametrize("ahead", [timedelta(hours=-30), timedelta(hours=1)])
async def test_a_clock_that_is_not_believed_opens_nothing(
    ada: Database, tmp_path: Path, ahead: timedelta
) -> None:
    """The mark of retention lies more than a day back, or after now: the clock jumped."""
    async with ada.write() as uow:
        await uow.clock.set_mark(ClockMark(datetime.now(UTC) + ahead))
        await uow.commit()
    with relay(tmp_path / "calls") as opened:
        file = doors_text(door=LIVE, output=opened.output())
        async with keeping(ada, tmp_path / "doors.toml", file) as watched:
            watched.keeper.offer(match())
            await watched.audited(1)
        assert opened.calls() == []
    assert watched.outcomes == [("denied", "clock_not_believed")]


async def test_an_opening_that_would_come_late_does_not_come(ada: Database, tmp_path: Path) -> None:
    """Another writer holds the database for longer than the deadline."""
    with relay(tmp_path / "calls") as opened:
        file = doors_text(door=LIVE + "\ndeadline_ms = 300", output=opened.output())
        async with keeping(ada, tmp_path / "doors.toml", file) as watched:
            async with ada.write() as uow:
                if ada.dialect == "postgresql":
                    # SQLite has one writer anyway.
                    await uow.connection.execute(text("LOCK TABLE audit_log IN EXCLUSIVE MODE"))
                watched.keeper.offer(match())
                await asyncio.sleep(1)
            await watched.until(1)
            await asyncio.sleep(0.5)
        assert opened.calls() == []
    assert watched.outcomes[-1] == ("failed", "too_late")


async def test_a_track_opens_by_its_votes_and_not_long_after_it_was_seen(
    ada: Database, tmp_path: Path
) -> None:
    def track(agree: int, seconds_ago: float) -> Decision:
        found = match(action="track", at=datetime.now(UTC))
        seen = SeenTrack("t1", found.at - timedelta(seconds=seconds_ago), Votes(agree, 3, 2))
        return replace(found, track=seen)

    rules = OPEN_TO_ALL.replace("1e-2", "1e-2\nframes = { agree = 2, of = 3 }", 1)
    async with keeping(ada, tmp_path / "doors.toml", doors_text(rules, door="pause_ms = 0")) as watched:
        for one in (track(1, 0), track(2, 0), track(3, 60), track(3, -60)):
            watched.keeper.offer(one)
        watched.keeper.offer(match())
        await watched.until(5)
    assert watched.outcomes == [
        ("denied", "frames"),
        ("would_open", "allowed"),
        ("failed", "too_late"),
        ("would_open", "allowed"),
        ("denied", "frames"),
    ]


def test_a_broker_gets_the_events_of_doors_without_names() -> None:
    body = b'{"kind": "door", "door": "Front door", "subject": {"subject_id": "ada"}, "outcome": "opened"}'
    camera, (message,) = Topics("main", names=False).messages(body)
    assert camera is None
    assert message.topic == f"halflight/main/doors/{slug('Front door')}"
    assert json.loads(message.payload)["subject"] is None
    assert json.loads(Topics("main", names=True).messages(body)[1][0].payload)["subject"] == {
        "subject_id": "ada"
    }


async def test_nobody_recognised_and_thresholds_of_ones_own_open_nothing(
    ada: Database, tmp_path: Path
) -> None:
    async with keeping(ada, tmp_path / "doors.toml", doors_text()) as watched:
        watched.keeper.offer(match(decision="unknown", subject=None))
        watched.keeper.offer(match(action="verify", decision="non-match"))
        watched.keeper.offer(match(rule=replace(DECISION.rule, target_fmr=None)))
        watched.keeper.offer(match(camera="elsewhere"), match(camera=None))
        await watched.until(3)
    assert [reason for _, reason in watched.outcomes] == [
        "nobody_recognised",
        "nobody_recognised",
        "threshold",
    ]
    assert [one.subject for one in watched.events[:2]] == [None, None], "who did not match is not named"


async def test_after_an_opening_the_door_pauses(ada: Database, tmp_path: Path) -> None:
    with relay(tmp_path / "calls") as opened:
        file = doors_text(door="dry_run = false\npause_ms = 60000", output=opened.output())
        async with keeping(ada, tmp_path / "doors.toml", file) as watched:
            for _ in range(3):
                watched.keeper.offer(match())
            await watched.audited(4)
        assert len(opened.calls()) == 1
    assert sorted(reason for _, reason in watched.outcomes) == ["allowed", "allowed"] + ["just_opened"] * 2


async def test_two_frames_of_three_open_once(ada: Database, tmp_path: Path) -> None:
    rules = OPEN_TO_ALL.replace("1e-2", "1e-2\nframes = { agree = 2, of = 3, within_ms = 5000 }", 1)
    with relay(tmp_path / "calls") as opened:
        file = doors_text(rules, door=LIVE, output=opened.output())
        async with keeping(ada, tmp_path / "doors.toml", file) as watched:
            for _ in range(3):
                watched.keeper.offer(match())
            await watched.audited(4)
        assert len(opened.calls()) == 1, "the third frame begins to count anew"
    denied = [reason for outcome, reason in watched.outcomes if outcome == "denied"]
    assert denied == ["frames", "frames"]


async def test_events_of_doors_wait_for_the_webhooks_receiver(ada: Database, tmp_path: Path) -> None:
    channel = WebhookChannel(Target("http://127.0.0.1:9/", True), b"x" * 32, 1)
    receiver = Receiver(name="webhook", kind="webhook", pace=Pace(), channel=channel)
    async with keeping(ada, tmp_path / "doors.toml", doors_text(), receiver) as watched:
        watched.keeper.offer(match())
        await watched.until(1)
        async with ada.write() as uow:
            now = datetime.now(UTC) + timedelta(seconds=5)
            (due,) = await uow.outbox.claim("webhook", now, now, 10)
            await uow.commit()
    body = json.loads(due.body)
    assert due.event_id == body["event_id"] == watched.events[0].event_id
    assert body | {"at": "", "event_id": ""} == {
        "schema_version": 1,
        "kind": "door",
        "event_id": "",
        "at": "",
        "door": "front",
        "outcome": "would_open",
        "reason": "allowed",
        "rule": "everybody",
        "subject": {"subject_id": "ada", "display_name": None},
        "camera": "entry",
        "decision_id": watched.events[0].decision_id,
        "dry_run": True,
        "liveness": "none",
    }


async def test_what_waits_at_the_end_opens_nothing(ada: Database, tmp_path: Path) -> None:
    with relay(tmp_path / "calls") as opened:
        file = doors_text(door=LIVE, output=opened.output())
        async with keeping(ada, tmp_path / "doors.toml", file) as watched:
            for _ in range(300):
                watched.keeper.offer(match())
        calls = len(opened.calls())
        assert calls < 300
        await asyncio.sleep(1)
        assert len(opened.calls()) == calls
    assert ("failed", "too_busy") in watched.outcomes


async def test_a_frame_knows_at_once_how_another_replica_switched_the_door(
    ada: Database, tmp_path: Path
) -> None:
    with relay(tmp_path / "calls") as opened:
        text_ = doors_text(door='dry_run = "until-switched"\npause_ms = 0', output=opened.output())
        async with keeping(ada, tmp_path / "doors.toml", text_) as watched:
            watched.keeper.offer(match())
            await watched.until(1)
            await modes(ada, live=True)
            watched.keeper.offer(match())
            await watched.until(3)
            await modes(ada, live=False)
            watched.keeper.offer(match())
            await watched.until(4)
        assert [one.outcome for one in watched.events] == ["would_open", "opening", "opened", "would_open"]
        assert [one.dry_run for one in watched.events] == [True, False, False, True]
        assert len(opened.calls()) == 1


async def test_an_output_follows_a_switch_of_another_replica_without_a_frame(
    ada: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "LOOK_S", 0.05)
    text_ = doors_text(door='dry_run = "until-switched"')
    async with keeping(ada, tmp_path / "doors.toml", text_) as watched:
        (door,) = watched.keeper.doors.values()
        assert (door.live, door.connected) == (False, False)
        for live in (True, False):
            await modes(ada, live=live)
            async with asyncio.timeout(60):
                while (door.live, door.connected) != (live, live):  # noqa: ASYNC110 - a door has no event
                    await asyncio.sleep(0.01)
