"""What an event becomes at an MQTT broker: topics, and messages that name nobody unless that is wanted."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

NODE = re.compile(r"[A-Za-z0-9_-]{1,32}")
SLUG_CHARS = 40
# Home Assistant takes no longer states.
STATE_CHARS = 255
ONLINE, OFFLINE = b"online", b"offline"
KNOWN, UNKNOWN, UNDECIDED = "known", "unknown face", "undecided"


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Topics:
    """`node`: which installation this is, in every topic. `names`: messages say who was seen."""

    node: str
    names: bool

    def __post_init__(self) -> None:
        if not NODE.fullmatch(self.node):
            raise ValueError("the node has up to 32 letters, digits, underscores and hyphens")

    @property
    def availability(self) -> str:
        return f"halflight/{self.node}/availability"

    @property
    def decisions(self) -> str:
        return f"halflight/{self.node}/decisions"

    def camera(self, camera: str) -> str:
        return f"halflight/{self.node}/cameras/{slug(camera)}"

    def door(self, door: str) -> str:
        return f"halflight/{self.node}/doors/{slug(door)}"

    def messages(self, body: bytes) -> tuple[str | None, list[Message]]:
        """The camera of a decision, None if it has none, and the messages of an event of any kind. `body`: as
        webhooks send it."""
        event = json.loads(body)
        if not self.names:
            event["subject"] = None
        if event.get("kind") == "door":
            return None, [Message(self.door(event["door"]), json.dumps(event).encode())]
        camera: str | None = event["camera"]
        found = [Message(self.decisions, json.dumps(event).encode())]
        if camera is not None:
            found.append(Message(self.camera(camera), self._state(event)))
        return camera, found

    def _state(self, event: dict[str, object]) -> bytes:
        """The message of a camera: flat, since templates of Home Assistant read it."""
        state = {
            "schema_version": event["schema_version"],
            "event_id": event["event_id"],
            "at": event["at"],
            "event_type": event["decision"],
            "action": event["action"],
            "person": _person(event)[:STATE_CHARS],
            "score": event["score"],
            "threshold": event["threshold"],
        }
        return json.dumps(state).encode()


def _person(event: dict[str, object]) -> str:
    if event["decision"] in ("uncalibrated", "undecided"):
        return UNDECIDED
    if event["decision"] != "match":
        return UNKNOWN
    subject = event["subject"]
    if not isinstance(subject, dict):
        return KNOWN
    return str(subject["display_name"] or subject["subject_id"])


def slug(camera: str) -> str:
    """A name of small letters, digits, underscores and hyphens, for topics; unlike for unlike cameras."""
    plain = re.sub(r"[^a-z0-9_]+", "-", camera.lower()).strip("-")[:SLUG_CHARS]
    if plain and plain == camera:
        return plain
    return f"{plain or 'camera'}-{hashlib.sha256(camera.encode()).hexdigest()[:8]}"
