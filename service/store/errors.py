"""Defines the errors of the store. Their texts hold no stored data."""

from __future__ import annotations


class StoreError(RuntimeError):
    """The database failed or refused, and stored nothing of the unit of work."""


class StoreFull(StoreError):
    """The disk of the database holds no more."""


class StoreReadOnly(StoreError):
    """The database, or the disk it lies on, takes no writes."""


class StoreBusy(StoreError):
    """Other writers held the database for longer than a writer waits."""


class IdempotencyTaken(StoreError):
    """Another request has stored its answer under the same idempotency key."""


class JobUnfinished(StoreError):
    """Another job that excludes this one waits or runs."""
