"""What tests of spaces share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.store.milvus import MilvusServer


@pytest.fixture
def own_milvus(tmp_path: Path) -> Iterator[MilvusServer]:
    """A server that a test may kill; another one runs for the others."""
    with MilvusServer(tmp_path) as running:
        yield running
