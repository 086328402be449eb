"""An event as JSON, as webhooks send it: that of the stream."""

from __future__ import annotations

from service.api.schemas.doors import DoorEventOut
from service.api.schemas.events import DecisionOut
from service.live.door_events import DoorEvent
from service.live.feed import LiveEvent


def event_body(event: LiveEvent) -> bytes:
    shown = DoorEventOut.of(event) if isinstance(event, DoorEvent) else DecisionOut.of(event)
    return shown.model_dump_json().encode()
