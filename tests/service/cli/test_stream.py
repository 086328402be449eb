"""Tests how server-sent events are read from lines."""

from __future__ import annotations

import pytest

from service.cli.stream import Event, read_events


def test_events_are_read_whole_and_comments_and_what_is_cut_off_are_dropped() -> None:
    lines = [
        *(": keep-alive", "", "id: a-1", "event: decision", 'data: {"x": 1}', ""),
        *("event: missed", "data: {", 'data:"count": 2}', "", "event: end", 'data: {"reason": "cut"}'),
    ]
    assert list(read_events(lines)) == [
        Event("decision", "a-1", {"x": 1}),
        Event("missed", "a-1", {"count": 2}),
    ]


def test_an_id_with_a_null_is_not_taken_and_a_kind_lasts_for_one_event() -> None:
    lines = ["event: start", "id: a-1", "data: {}", "", "id: a\0b", "data: {}", ""]
    assert list(read_events(lines)) == [Event("start", "a-1", {}), Event("message", "a-1", {})]


@pytest.mark.parametrize("data", ["[1]", "{", "7"])
def test_data_that_is_no_object_is_refused(data: str) -> None:
    with pytest.raises(ValueError, match=r"no JSON object|Expecting"):
        list(read_events([f"data: {data}", ""]))
