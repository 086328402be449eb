"""Tests what workers tell each other: messages keep their borders, and metrics name their worker."""

from __future__ import annotations

import os

import pytest

from service.live.feed import DecisionFeed
from service.telemetry import by_worker
from service.workers.line import PIECE_BYTES, Message, pair
from tests.service.live.test_feed import numbered

ONE = b"""# HELP halflight_requests_total Answered requests
# TYPE halflight_requests_total counter
halflight_requests_total{route="/identify",status="200"} 3.0
# HELP halflight_ready 1 while the service can match
# TYPE halflight_ready gauge
halflight_ready 1.0
"""
TWO = ONE.replace(b"} 3.0", b"} 4.0")


def test_messages_arrive_whole_and_in_order() -> None:
    ours, theirs = pair()
    with ours, theirs:
        sent = [Message("event", 1, n, os.urandom(50_000)) for n in range(2)]
        for message in sent:
            theirs.send(message.packed())
        assert [Message.unpacked(ours.recv(2 * PIECE_BYTES)) for _ in sent] == sent


def test_a_message_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        Message("answer", 0, 1, os.urandom(2 * PIECE_BYTES)).packed()


def test_metrics_of_several_workers_name_their_worker_and_say_who_is_missing() -> None:
    assert by_worker({1: TWO, 0: ONE}, 3).decode() == (
        "# HELP halflight_requests_total Answered requests\n"
        "# TYPE halflight_requests_total counter\n"
        'halflight_requests_total{worker="0",route="/identify",status="200"} 3.0\n'
        'halflight_requests_total{worker="1",route="/identify",status="200"} 4.0\n'
        "# HELP halflight_ready 1 while the service can match\n"
        "# TYPE halflight_ready gauge\n"
        'halflight_ready{worker="0"} 1.0\n'
        'halflight_ready{worker="1"} 1.0\n'
        "# HELP halflight_worker_up 1 for a worker process whose metrics are here\n"
        "# TYPE halflight_worker_up gauge\n"
        'halflight_worker_up{worker="0"} 1.0\n'
        'halflight_worker_up{worker="1"} 1.0\n'
        'halflight_worker_up{worker="2"} 0.0\n'
    )


def test_a_feed_of_several_workers_keeps_only_what_comes_back_in_the_common_order() -> None:
    sent: list[object] = []
    feed = DecisionFeed(10, run="0123456789ab", share=sent.append)
    events = numbered(6)
    feed.publish(*events[:2])
    assert sent == events[:2]
    assert feed.last == 0
    for seq in (1, 2, 2, 1):
        feed.take(seq, events[seq - 1])
    assert [placed.seq for placed in feed.after(0, 10).placed] == [1, 2]
    assert feed.resume("0123456789ab-2") == (2, True)
    # This worker heard nothing for a while: 3 and 4 are lost to its readers, who are told so.
    feed.take(5, events[4])
    page = feed.after(2, 10)
    assert page.missed == 2
    assert [placed.seq for placed in page.placed] == [5]
