"""What a command loads before it runs: each start of `halflight` pays for it."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.serve import loading
from tests.conftest import REPO

HEAVY = ("sqlalchemy", "alembic", "fastapi", "uvicorn", "onnxruntime", "faiss", "torch", "matplotlib")


def loaded(code: str, *arguments: str) -> set[str]:
    """Those of `HEAVY` that an interpreter has loaded after `code`."""
    report = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", report, *arguments], cwd=REPO, capture_output=True, text=True, check=True
    )
    return set(HEAVY) & set(done.stdout.split())


def test_the_command_line_loads_neither_the_database_nor_the_server_nor_the_networks() -> None:
    assert loaded("import service.cli.main") == set()


def test_a_migrated_database_opens_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}"
    opens = (
        "import asyncio, sys\n"
        "from service.store.database import Database\n"
        "async def opened():\n"
        "    db = await Database.open(sys.argv[1])\n"
        "    await db.migrate()\n"
        "    await db.close()\n"
        "asyncio.run(opened())"
    )
    assert loaded(opens, url) == {"sqlalchemy", "alembic"}
    assert loaded(opens, url) == {"sqlalchemy"}


def test_the_collector_rests_while_modules_load_and_then_leaves_them_alone() -> None:
    before = gc.get_freeze_count()
    try:
        with pytest.raises(ImportError), loading():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
