"""Counts agreeing frames of a camera that were identified one by one, in memory of this process alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from service.doors.judging import Agreement, Presented, frame_counts
from service.doors.rules import Door, Rule


@dataclass(frozen=True, slots=True)
class _Frame:
    """One image. `agreeing`: subjects whom it shows as the rule asks; `live`: those who are live there."""

    at_s: float
    agreeing: frozenset[str]
    live: frozenset[str]


class VoteBook:
    """The latest frames of one door, for each rule that counts some, and each camera.

    A frame counts once, however many faces it has, and whatever it shows: one that shows somebody else, or
    nobody, takes the place of an older one.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._frames: dict[tuple[str, str], deque[_Frame]] = {}

    def add(self, camera: str, seen: Iterable[Presented], at_s: float) -> None:
        """Notes one frame. `at_s`: monotonic, in seconds."""
        among = [one for one in seen if one.votes is None]
        if self._door.keys is not None:
            among = [one for one in among if one.key_id in self._door.keys]
        if not among:
            return
        for rule in self._door.rules:
            if rule.effect == "deny" or rule.frames.within_ms is None:
                continue
            counting = {
                one.subject_id: one for one in among if one.subject_id is not None and frame_counts(rule, one)
            }
            live = frozenset(name for name, one in counting.items() if one.liveness == "live")
            kept = self._frames.setdefault((rule.name, camera), deque(maxlen=rule.frames.of))
            kept.append(_Frame(at_s, frozenset(counting), live))

    def agreement(self, rule: Rule, seen: Presented, at_s: float) -> Agreement:
        """How many of the frames that count show this subject; alone, a frame is 1 of 1."""
        if rule.frames.within_ms is None or seen.votes is not None or seen.subject_id is None:
            return Agreement(1, 1)
        since = at_s - rule.frames.within_ms / 1000
        kept = self._frames.get((rule.name, seen.camera), ())
        recent = [frame for frame in kept if frame.at_s >= since]
        agree = sum(seen.subject_id in frame.agreeing for frame in recent)
        # Frames that have not come yet agree with nobody, so that 2 of 3 are 2 of 2 too.
        return Agreement(agree, max(len(recent), 1), _live_ms(recent, seen.subject_id, at_s))

    def forget(self) -> None:
        """Empties the book, after an opening: the same frames open nothing again."""
        self._frames.clear()


def _live_ms(recent: list[_Frame], subject_id: str, at_s: float) -> float | None:
    """Over how long the subject was live, back from the last frame without one that was not."""
    begun: float | None = None
    for frame in reversed(recent):
        if subject_id not in frame.live:
            break
        begun = frame.at_s
    return None if begun is None else 1000 * (at_s - begun)


def books(doors: Mapping[str, Door]) -> dict[str, VoteBook]:
    return {name: VoteBook(door) for name, door in doors.items()}
