"""Provides a real PostgreSQL to the tests of a deployment."""

from tests.service.conftest import postgres

__all__ = ["postgres"]
