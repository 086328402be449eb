"""What is asked of one subject costs as much as the subject has, however large the gallery is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event, text

from service.store.database import Database
from tests.service.store.support import KEYS, SPACE, D, enrol, vector


async def test_sqlite_finds_the_templates_of_a_subject_through_its_samples(tmp_path: Path) -> None:
    db = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}", KEYS)
    await db.migrate()
    async with db.write() as uow:
        await uow.spaces.register(SPACE, "bundle", D, "active")
        await enrol(uow, "anna", vector(1), vector(2))
        await enrol(uow, "ben", vector(3))
        await uow.commit()
    asked: list[tuple[str, Any]] = []
    async with db.read() as uow:
        engine = uow.connection.sync_connection
        assert engine is not None
        event.listen(
            engine, "before_cursor_execute", lambda _c, _u, sql, values, *_: asked.append((sql, values))
        )
        assert len(await uow.templates.of_subject(SPACE, "anna")) == 2
        assert (await uow.templates.vectors_of(SPACE, "ben")).shape == (1, D)
        queries = [one for one in asked if "templates.vector" in one[0]]
        assert len(queries) == 2
        for sql, values in queries:
            rows = await uow.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
            plan = "\n".join(str(row[-1]) for row in rows)
            assert "SEARCH templates USING INDEX sqlite_autoindex_templates_1" in plan, plan
        # The index that must not be used is there, so that the plan is a choice.
        names = await uow.connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'index'"))
        assert "ix_templates_space_id" in {row[0] for row in names}
    await db.close()
