"""Whether the request in work has had a place in a queue of the networks. Then no later one refuses it.

A request refused half-way would have been decoded and searched for faces for nothing, and who
asks again might hardly ever come through: with one place in each queue and six callers, an enrolment took
minutes. The requests in work are limited, and so are the items beyond a queue's limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class _Work:
    begun: bool = False


_work: ContextVar[_Work | None] = ContextVar("work", default=None)


@contextmanager
def one_request() -> Iterator[None]:
    """Within the context, and in tasks made in it, everything is work of one request."""
    token = _work.set(_Work())
    try:
        yield
    finally:
        _work.reset(token)


def is_under_way() -> bool:
    """Whether a queue took an item of this request already; false for work of no request."""
    work = _work.get()
    return work is not None and work.begun


def has_begun() -> None:
    """Notes that a queue took an item of this request."""
    if (work := _work.get()) is not None:
        work.begun = True
