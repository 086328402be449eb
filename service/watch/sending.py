"""Sends what waits in the spool, in order, until the service has answered it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import cast

from halflight.client import (
    Client,
    ClientError,
    Conflict,
    Refused,
    TrackDecision,
    UnexpectedAnswer,
    Unreachable,
)
from halflight.client.options import TrackOptions
from service.watch.spool import Spool, Waiting
from service.watch.status import WatchStatus

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
# What may be otherwise later: load, a restart, a key that is replaced, an upgrade that knows tracks.
COMES_BACK = frozenset({401, 403, 404, 405, 408, 429, 502, 503, 504, 507})
# A service that fails at one track shall not keep all others waiting.
MOST_FAILURES = 5
POLL_S = 0.5

# Takes the answer; None where the service will never give one, or gave it to an earlier run.
OnAnswer = Callable[[Waiting, TrackDecision | None], None]


def pause_s(error: ClientError, failed: int) -> float:
    """After `failed` attempts: what the service asks for and a little more, or ever longer, with jitter."""
    asked = error.retry_after_s if isinstance(error, Refused) else None
    if asked is not None:
        return asked * (1 + random.uniform(0, 0.25))  # noqa: S311 - spreads load, protects nothing
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failed - 1, 10))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - as above


def said(error: ClientError) -> str:
    """Why the service is waited for, without anything that a request held."""
    return f"{error.status} {error.code}" if isinstance(error, Refused) else type(error).__name__


class Sender(threading.Thread):
    """Sends one request at a time. `client`: one that does not repeat anything itself."""

    def __init__(self, client: Client, spool: Spool, status: WatchStatus, on_answer: OnAnswer) -> None:
        super().__init__(name="sender", daemon=True)
        self._client, self._spool, self._status, self._on_answer = client, spool, status, on_answer
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ends the thread after the request that it sends now."""
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            waiting = self._spool.first(POLL_S)
            if waiting is not None and self._send(waiting):
                self._spool.done(waiting.number)

    def _send(self, waiting: Waiting) -> bool:
        """Sends a request until it has an answer; returns False if the thread shall end before."""
        failed = 0
        while not self._stopping.is_set():
            try:
                answer = self._client.track(
                    waiting.track,
                    waiting.frames,
                    idempotency_key=waiting.idempotency_key,
                    **options_of(waiting),
                )
            except Conflict:
                # An earlier run sent this track with other frames: the service has decided about it.
                self._on_answer(waiting, None)
                return True
            except ClientError as error:
                failed += 1
                if not _comes_back(error, failed):
                    self._status.refused += 1
                    self._status.service = f"a track was refused: {said(error)}"
                    self._on_answer(waiting, None)
                    return True
                self._status.service = said(error)
                self._stopping.wait(pause_s(error, failed))
                continue
            self._status.service = None
            # What follows from the answer reaches the disk before the request leaves it.
            self._on_answer(waiting, answer)
            return True
        return False


def options_of(waiting: Waiting) -> TrackOptions:
    """The options of a request; those that are None the service chooses."""
    given = {
        "spectrum": waiting.spectrum,
        "turn": waiting.turn,
        "fmr": waiting.fmr,
        "agree": waiting.agree,
        "camera": waiting.source,
        "seen_at": waiting.seen_at,
        "quiet_s": waiting.quiet_s,
        "final": waiting.final,
    }
    return cast(TrackOptions, {name: value for name, value in given.items() if value is not None})


def _comes_back(error: ClientError, failed: int) -> bool:
    if isinstance(error, (Unreachable, UnexpectedAnswer)):
        return True
    if isinstance(error, Refused) and error.status in COMES_BACK:
        return True
    return isinstance(error, Refused) and error.status >= 500 and failed < MOST_FAILURES
