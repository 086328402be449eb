"""What every output is: it opens once, or fails; nothing waits in it for a later moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from service.doors.wiegand import CardError, number_bits


class OutputFailed(Exception):
    """The door was not opened, or nobody knows whether. `reason`: a code for events and the audit log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Output(Protocol):
    """`open` is called at most once for each decision."""

    async def start(self) -> None:
        """Connects what stays connected. Raises nothing: an output that cannot be reached fails to open."""

    async def stop(self) -> None:
        """Ends what `start` began; nothing opens after it."""

    def state(self) -> str:
        """A word for administrators, such as `ready`."""

    async def open(self, metadata: Mapping[str, Any], left_s: float) -> None:
        """Opens now, within `left_s` seconds, or not at all. `metadata`: of the subject.

        Raises OutputFailed.
        """


def card_bits(metadata: Mapping[str, Any], *, field: str, bits: int, facility: int | None) -> str:
    """The number of a subject's card as bits. Raises OutputFailed: without a card nothing opens."""
    try:
        return number_bits(metadata.get(field), bits=bits, facility=facility)
    except CardError as error:
        raise OutputFailed("no_card") from error
