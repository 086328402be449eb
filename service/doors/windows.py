"""Weekdays and times of the day in a time zone: whether a moment lies in a window."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TIME = re.compile(r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})")


def minute_of_day(text: str) -> int:
    """HH:MM as minutes since midnight, 24:00 included. Raises ValueError."""
    found = TIME.fullmatch(text)
    minutes = -1 if found is None else 60 * int(found["hour"]) + int(found["minute"])
    if found is None or int(found["minute"]) > 59 or minutes > 24 * 60:
        raise ValueError("write a time of the day as HH:MM, such as 07:30")
    return minutes


def inside(moment: datetime, zone: str, days: Sequence[Day], begins: str, ends: str) -> bool:
    """Whether a moment lies in a window of these days, from `begins` until just before `ends`.

    The wall clock of the zone counts, so a window is an hour longer or shorter when the clocks change.
    A window that ends before it begins goes over midnight, and belongs to the day on which it begins.
    """
    there = moment.astimezone(ZoneInfo(zone))
    today, yesterday = DAYS[there.weekday()], DAYS[there.weekday() - 1]
    minute, first, last = 60 * there.hour + there.minute, minute_of_day(begins), minute_of_day(ends)
    if first < last:
        return today in days and first <= minute < last
    return (today in days and minute >= first) or (yesterday in days and minute < last)
