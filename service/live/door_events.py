"""What a door did, or would have done, as an event: no pixel, no vector, no number of a card."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from service.inference.liveness_reading import Liveness
from service.live.decisions import SeenSubject

# `opening`: a rule allows it, and the output is about to be asked; `opened` or `failed` follows.
Outcome = Literal["would_open", "opening", "opened", "failed", "denied"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorEvent:
    """`decision_id`: the event of the decision that the door judged. `rule`: the one that decided; None where
    none did. `reason`: a code, see docs/how-to/door.md. `liveness`: what is known of it; none by default."""

    event_id: str
    at: datetime
    door: str
    outcome: Outcome
    reason: str
    rule: str | None
    subject: SeenSubject | None
    camera: str
    decision_id: str
    dry_run: bool
    liveness: Liveness
