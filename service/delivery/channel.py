"""What a receiver of events is to whoever sends them: a name, a pace, and a way to hand over one event."""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from service.store.outbox import DueEvent

LONGEST_WAIT_S = 3600.0
Kind = Literal["webhook", "mqtt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`timeout_s`: of one attempt; `retry_s`: the longest wait after the first failure, twice as long after
    each further one; `attempts`: after so many an event is tried no more."""

    timeout_s: float = 10.0
    retry_s: float = 5.0
    attempts: int = 15

    def wait_s(self, failed: int) -> float:
        """Seconds before the next attempt after `failed` ones: full jitter in the upper half, an hour at
        most."""
        longest = min(LONGEST_WAIT_S, self.retry_s * 2.0 ** min(failed - 1, 30))
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, protects nothing


class Channel(Protocol):
    """A way to hand over events. Belongs to one event loop."""

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Holds what sending needs: connections, tasks."""

    async def ready(self) -> None:
        """Returns once an attempt makes sense; none is counted before."""

    async def send(self, event: DueEvent) -> str | None:
        """Why an attempt failed; None if the receiver has confirmed the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """`name`: that of its deliveries in the database."""

    name: str
    kind: Kind
    pace: Pace
    channel: Channel
