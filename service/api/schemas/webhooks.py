"""Wire types of /admin/webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from service.api.schemas.base import Wire


class DeadEventOut(Wire):
    """An event that a receiver is sent no more; `last_error`: a status, or the kind of the failure."""

    event_id: str
    receiver: str
    at: datetime
    attempts: int
    last_error: str


class ReceiverOut(Wire):
    """`kind`: null for a receiver that is set no more, whose events wait until they expire. `waiting`,
    `dead`: events that it has not confirmed. `last_delivered_at`, `last_failed_at`: of attempts since this
    process started, and `last_error` why the latter failed."""

    name: str
    kind: Literal["webhook", "mqtt"] | None
    waiting: int
    dead: int
    last_delivered_at: datetime | None
    last_failed_at: datetime | None
    last_error: str | None


class WebhooksOut(Wire):
    """`on`: whether a receiver is set; `waiting`, `dead`: deliveries that were not confirmed, of all
    `receivers`; `dead_letters`: the oldest of the dead ones."""

    on: bool
    waiting: int
    dead: int
    receivers: list[ReceiverOut]
    dead_letters: list[DeadEventOut]


class ReplayIn(Wire):
    """`event_ids`: null for every dead event; `receiver`: null for all of them."""

    event_ids: Annotated[list[str], Field(min_length=1, max_length=1000)] | None = None
    receiver: Annotated[str, Field(max_length=32)] | None = None


class ReplayedOut(Wire):
    replayed: int
