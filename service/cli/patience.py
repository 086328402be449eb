"""Waits for a service that is away or at its limit, in long work that nobody wants to start again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from service.cli.client import Unanswered
from service.cli.output import UNSURE, Failure, print_status
from service.cli.problems import ServiceRefusal

T = TypeVar("T")

# Long enough for a restart that loads a large gallery, or for a backup that holds the database.
PATIENCE_S = 900.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 15.0
PASSES = (429, 502, 503, 504)


class Patience:
    """Repeats requests until the service answers; safe to use from several threads.

    A service that never answered is not waited for: its address may be wrong. Leaving the context ends
    every wait.
    """

    def __init__(self, *, patience_s: float = PATIENCE_S) -> None:
        self._patience_s, self._ended = patience_s, threading.Event()
        self._answered_at: float | None = None
        self._told = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def until_answered(self, send: Callable[[], T]) -> T:
        """What `send` returns, asked again as long as the service has been away for `patience_s` at most.

        Raises what `send` raises.
        """
        wait_s = FIRST_WAIT_S
        while True:
            try:
                answer = send()
            except Failure as failure:
                if not self._waits_after(failure) or self._ended.wait(wait_s):
                    raise
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            self._answered_at, self._told = time.monotonic(), False
            return answer

    def _waits_after(self, failure: Failure) -> bool:
        if isinstance(failure, ServiceRefusal):
            if failure.status not in PASSES:
                # Whatever it says, the service is there.
                self._answered_at, self._told = time.monotonic(), False
                return False
        elif not isinstance(failure, Unanswered):
            return False
        since = self._answered_at
        if since is None or time.monotonic() - since > self._patience_s or self._ended.is_set():
            return False
        if not self._told:
            self._told = True
            print_status(f"{failure.title}; waiting for it, {self._patience_s / 60:.0f} min at most", UNSURE)
        return True
