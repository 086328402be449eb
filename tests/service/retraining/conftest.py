"""A service whose training interpreter lacks everything, and a client of it."""

from __future__ import annotations

from tests.service.jobs.conftest import admin, place

__all__ = ["admin", "place"]
