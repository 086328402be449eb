"""What can go wrong in the store, in words without data."""

from __future__ import annotations


class StoreError(RuntimeError):
    """The database failed or refused; nothing of the unit of work was stored."""


class IdempotencyTaken(StoreError):
    """Another request stored its answer under the same idempotency key first."""


class JobUnfinished(StoreError):
    """Another job of the kind that may run only once waits or runs."""
