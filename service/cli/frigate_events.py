"""What Frigate says about the people whom it tracks, and when their snapshots are worth asking about.

After https://docs.frigate.video/integrations/mqtt: each message on `frigate/events` has a type and the
object before and after the change.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Beyond so many at once the one that was seen first is given up: Frigate has forgotten to end it.
MAX_PERSONS = 200
EventId = Annotated[str, Field(pattern=r"^[0-9]{1,12}\.[0-9]{1,9}-[A-Za-z0-9]{1,32}$")]


class Seen(BaseModel):
    """A tracked object. Frigate's versions add fields, which are nothing to us."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: EventId
    camera: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    label: str
    has_snapshot: bool = False
    false_positive: bool = False
    sub_label: str | list[str | float | None] | None = None


class Change(BaseModel):
    """One message of `frigate/events`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["new", "update", "end"]
    after: Seen


def change_of(payload: bytes | bytearray) -> Change:
    """Raises ValueError if this is no message of Frigate."""
    return Change.model_validate_json(bytes(payload))


@dataclass(slots=True, eq=False)
class Person:
    """A person whom Frigate tracks, and the snapshots that it had of them so far, oldest first.

    `most`: snapshots that are kept. `verdict`: who it is and by what share of the votes. `settled`: Frigate
    knows somebody's name, from here or from others.
    """

    event_id: str
    camera: str
    most: int
    ended: bool = False
    settled: bool = False
    verdict: tuple[str, float] | None = None
    frames: list[bytes] = field(default_factory=list)
    _digests: set[bytes] = field(default_factory=set)
    _asked: int = 0

    def take(self, frame: bytes) -> None:
        """Keeps a snapshot that is not there yet; the oldest gives way."""
        digest = hashlib.sha256(frame).digest()
        if digest not in self._digests:
            self._digests.add(digest)
            self.frames = [*self.frames, frame][-self.most :]

    def worth_asking(self) -> bool:
        """Whether the frames are asked about now: at two, four, eight and so on of them, and at the end.

        So a person costs no more than three times as many identifications as snapshots.
        """
        if self.settled or self.verdict is not None or not self.frames:
            return False
        taken = len(self._digests)
        due = self.ended or (taken > self._asked and taken >= 2 and taken & (taken - 1) == 0)
        if due:
            self._asked = taken
        return due

    @property
    def request_key(self) -> str:
        """The same for the same question, so that it is answered once."""
        digest = hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in self.frames))
        return f"frigate-{self.event_id}-{self.ended:d}-{digest.hexdigest()[:32]}"


class People:
    """Everybody whom Frigate tracks now. `cameras`: None for all of them."""

    def __init__(self, label: str, cameras: frozenset[str] | None, most: int) -> None:
        self._label, self._cameras, self._most = label, cameras, most
        self._there: dict[str, Person] = {}

    def of(self, change: Change) -> Person | None:
        """Whom a change is about, if their snapshots are to be looked at."""
        seen = change.after
        if seen.label != self._label or seen.false_positive:
            return None
        if self._cameras is not None and seen.camera not in self._cameras:
            return None
        person = self._there.get(seen.id)
        if person is None:
            if change.type == "end":
                # It began before this process did: after the end a snapshot may show anybody.
                return None
            person = self._there[seen.id] = Person(seen.id, seen.camera, self._most)
            if len(self._there) > MAX_PERSONS:
                del self._there[next(iter(self._there))]
        if change.type == "end":
            person.ended = True
            del self._there[seen.id]
        if seen.sub_label is not None:
            person.settled = True
        return person if person.ended or seen.has_snapshot else None
