"""The feed in memory: bounded, and exact about what it dropped."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from faces.masks import MaskReading, MaskState
from faces.types import CONDITIONS, Pair, Spectrum
from service.errors import InvalidParameter
from service.inference.quality import Pose, Quality
from service.live.decisions import EVENT_ID, Decision, Picture, new_event_id
from service.live.feed import DecisionFeed
from service.matching.rules import Rule

QUALITY = Quality(
    score=80, reasons=(), inter_eye_px=40.0, sharpness=0.02, exposure=0.5, pose=Pose(yaw=0.0, roll=0.0)
)
DECISION = Decision(
    event_id="0" * 24,
    at=datetime(2026, 11, 29, tzinfo=UTC),
    action="identify",
    actor="local",
    space_id="space",
    decision="unknown",
    subject=None,
    score=0.1,
    rule=Rule(Pair(CONDITIONS[0], CONDITIONS[0]), True, 0.5, 1e-4),
    calibration_id="table",
    comparisons=1,
    fpir=1e-4,
    picture=Picture(Spectrum.VIS, MaskReading(MaskState.UNMASKED, False, 0.1), QUALITY),
    camera=None,
)


def numbered(count: int) -> list[Decision]:
    return [replace(DECISION, event_id=f"{number:024x}") for number in range(1, count + 1)]


def test_a_reader_gets_every_decision_once_in_order() -> None:
    feed = DecisionFeed(10)
    feed.publish(*numbered(5))
    first = feed.after(0, 3)
    second = feed.after(first.placed[-1].seq, 3)
    assert [placed.seq for placed in (*first.placed, *second.placed)] == [1, 2, 3, 4, 5]
    assert (first.missed, second.missed) == (0, 0)
    assert feed.after(5, 3).placed == ()


def test_a_slow_reader_learns_how_many_it_missed_and_gets_the_rest() -> None:
    feed = DecisionFeed(10)
    feed.publish(*numbered(25))
    page = feed.after(3, 100)
    assert page.missed == 12
    assert [placed.seq for placed in page.placed] == list(range(16, 26))
    assert [placed.event.event_id for placed in page.placed[:1]] == [f"{16:024x}"]


def test_the_last_ones_can_be_asked_for() -> None:
    feed = DecisionFeed(10)
    assert feed.before_last(5) == 0
    feed.publish(*numbered(12))
    assert len(feed.after(feed.before_last(5), 100).placed) == 5
    assert len(feed.after(feed.before_last(50), 100).placed) == 10
    assert feed.after(feed.before_last(0), 100).placed == ()


def test_a_place_leads_back_and_one_of_another_run_leads_to_the_beginning() -> None:
    feed, other = DecisionFeed(10), DecisionFeed(10)
    feed.publish(*numbered(4))
    assert feed.resume(feed.name(2)) == (2, True)
    # A place that does not exist yet must not hide what comes before it.
    assert feed.resume(feed.name(9)) == (4, True)
    assert feed.resume(other.name(3)) == (0, False)
    for wrong in ("", "4", "x-4", feed.name(2) + "x", "0123456789ab--1"):
        with pytest.raises(InvalidParameter):
            feed.resume(wrong)


async def test_a_waiting_reader_wakes_with_the_next_decision() -> None:
    feed = DecisionFeed(10)
    readers = [asyncio.create_task(feed.wait(60)) for _ in range(3)]
    await asyncio.sleep(0)
    feed.publish(DECISION)
    await asyncio.wait_for(asyncio.gather(*readers), 30)
    await feed.wait(0.01)  # no further news: returns by itself


def test_event_ids_sort_by_time_and_never_repeat() -> None:
    ids = [new_event_id(at_ms) for at_ms in (1, 15, 16, 1_764_000_000_000, 1_764_000_000_001)]
    assert ids == sorted(ids)
    assert all(EVENT_ID.fullmatch(one) for one in ids)
    assert len({new_event_id(7) for _ in range(1000)}) == 1000
