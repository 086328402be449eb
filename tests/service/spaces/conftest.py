"""The store's databases, here too."""

from __future__ import annotations

from tests.service.store.conftest import database_url, db, postgres

__all__ = ["database_url", "db", "postgres"]
