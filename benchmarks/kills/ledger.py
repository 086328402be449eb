"""What the senders know about each subject, and what a database may therefore hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Fate(Enum):
    """`UNSURE`: a request about the subject was sent and not answered: both outcomes are right."""

    UNSURE = "unsure"
    ENROLLED = "enrolled"
    ERASED = "erased"


@dataclass(slots=True)
class Known:
    """One subject, whose id is used once. `photos`: their indices; `since`: monotonic time of its fate."""

    subject_id: str
    photos: tuple[int, ...]
    fate: Fate = Fate.UNSURE
    since: float = field(default_factory=time.monotonic)

    def becomes(self, fate: Fate) -> None:
        self.fate, self.since = fate, time.monotonic()


class Ledger:
    """Used by several threads. `faults`: what contradicts an acknowledgement, in words."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subjects: dict[str, Known] = {}
        self.faults: list[str] = []
        self.enrolled = self.erased = self.identified = 0

    def fault(self, text: str) -> None:
        with self._lock:
            self.faults.append(text)

    def new(self, photos: tuple[int, ...]) -> Known:
        """A subject that is about to be enrolled."""
        with self._lock:
            known = Known(f"k{len(self._subjects):05}", photos)
            self._subjects[known.subject_id] = known
            return known

    def acknowledged(self, known: Known, fate: Fate) -> None:
        """The service has answered that the subject is enrolled, or is erased."""
        with self._lock:
            known.becomes(fate)
            if fate is Fate.ENROLLED:
                self.enrolled += 1
            else:
                self.erased += 1

    def refused(self, known: Known) -> None:
        """The service has answered that it did not enrol the subject, which never was there then."""
        with self._lock:
            del self._subjects[known.subject_id]
            # Its id stays used.
            self._subjects[f"{known.subject_id}-refused"] = Known("", (), Fate.ERASED)

    def oldest(self, at_least: int) -> Known | None:
        """A subject to erase, if more than so many are enrolled; its fate is unsure from now on."""
        with self._lock:
            there = [each for each in self._subjects.values() if each.fate is Fate.ENROLLED]
            if len(there) <= at_least:
                return None
            there[0].becomes(Fate.UNSURE)
            return there[0]

    def take(self, known: Known) -> bool:
        """Whether the subject is enrolled and nobody else erases it; its fate is unsure from now on."""
        with self._lock:
            free = known.fate is Fate.ENROLLED
            if free:
                known.becomes(Fate.UNSURE)
            return free

    def with_fate(self, fate: Fate, *, before: float | None = None) -> dict[str, Known]:
        """Subjects by id, those alone that have had this fate since before a moment."""
        end = time.monotonic() if before is None else before
        with self._lock:
            return {
                each.subject_id: each
                for each in self._subjects.values()
                if each.fate is fate and each.since <= end and each.subject_id
            }

    def settle(self, found: Mapping[str, int]) -> None:
        """Compares with the subjects that are there now (id to samples), and takes what was unsure."""
        with self._lock:
            for each in self._subjects.values():
                if not each.subject_id:
                    continue
                there = each.subject_id in found
                if each.fate is Fate.ENROLLED and not there:
                    self.faults.append(f"lost: {each.subject_id} was acknowledged and is not there")
                if each.fate is Fate.ERASED and there:
                    self.faults.append(f"returned: {each.subject_id} was erased and is there")
                if there and found[each.subject_id] != len(each.photos):
                    self.faults.append(
                        f"half: {each.subject_id} has {found[each.subject_id]} samples of {len(each.photos)}"
                    )
                if each.fate is Fate.UNSURE:
                    each.becomes(Fate.ENROLLED if there else Fate.ERASED)
            for stranger in found.keys() - self._subjects.keys():
                self.faults.append(f"unknown: {stranger} is there and was never sent")

    def compare(self, candidates: Collection[str], photo: int, began: float, what: str) -> None:
        """Checks the candidates of a photo: everybody enrolled with it before, and nobody erased before."""
        with self._lock:
            for each in self._subjects.values():
                if not each.subject_id or each.since > began:
                    continue
                found = each.subject_id in candidates
                if each.fate is Fate.ENROLLED and photo in each.photos and not found:
                    self.faults.append(f"not identified: {each.subject_id} {what}")
                if each.fate is Fate.ERASED and found:
                    self.faults.append(f"erased and identified: {each.subject_id} {what}")
