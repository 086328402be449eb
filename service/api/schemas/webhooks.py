"""Wire types of /admin/webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from service.api.schemas.base import Wire


class DeadEventOut(Wire):
    """An event that is tried no more; `last_error`: a status, or the kind of the failure."""

    event_id: str
    at: datetime
    attempts: int
    last_error: str


class WebhooksOut(Wire):
    """`on`: whether a receiver is set; `waiting`, `dead`: events that it has not confirmed; `dead_letters`:
    the oldest of the dead ones."""

    on: bool
    waiting: int
    dead: int
    dead_letters: list[DeadEventOut]


class ReplayIn(Wire):
    """`event_ids`: null for every dead event."""

    event_ids: Annotated[list[str], Field(min_length=1, max_length=1000)] | None = None


class ReplayedOut(Wire):
    replayed: int
