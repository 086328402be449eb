"""`halflight keys`: made, listed and revoked on the database itself, before any service runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.table import Table

from service import keys
from service.cli.console import emit, fail, out, talk, told
from service.settings import Settings
from service.store.database import Database
from service.store.errors import StoreError

app = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")

Data = Annotated[Path, typer.Option("--data", help="The service's data directory.")]
Url = Annotated[str | None, typer.Option("--database-url", help="PostgreSQL instead of SQLite.")]
Label = Annotated[str, typer.Option(help="What the key is for.")]
AsRole = Annotated[keys.Role, typer.Option(help="probe: identify and verify; operator: enrol too.")]
T = TypeVar("T")


def _with_database(data: Path, url: str | None, work: Callable[[Database], Awaitable[T]]) -> T:
    given = {"data_dir": data} | ({"database_url": url} if url else {})
    settings = Settings(**given)  # type: ignore[arg-type]

    async def run() -> T:
        db = await Database.open(settings.sqlalchemy_url)
        try:
            await db.migrate()
            return await work(db)
        finally:
            await db.close()

    with told(StoreError, OSError):
        data.mkdir(parents=True, exist_ok=True)
        return asyncio.run(run())


def _show_once(made: keys.CreatedKey) -> None:
    talk.print(f"key {made.key_id} ({made.role.value}): shown once, stored nowhere", markup=False)
    emit(made.token)


@app.command()
def create(role: AsRole, label: Label = "", data: Data = Path("data"), database_url: Url = None) -> None:
    """Make a key. Its secret goes to stdout, once."""
    _show_once(_with_database(data, database_url, lambda db: keys.create(db, role=role, label=label)))


@app.command()
def ensure(role: AsRole = keys.Role.ADMIN, data: Data = Path("data"), database_url: Url = None) -> None:
    """Make a key of this role unless an active one exists; prints it only then."""

    async def work(db: Database) -> keys.CreatedKey | None:
        known = await keys.list_all(db)
        if any(key.role == role.value and key.revoked_at is None for key in known):
            return None
        return await keys.create(db, role=role, label="made by keys ensure")

    made = _with_database(data, database_url, work)
    if made is None:
        talk.print(f"an active {role.value} key exists already; nothing to do")
    else:
        _show_once(made)


@app.command("list")
def list_keys(data: Data = Path("data"), database_url: Url = None) -> None:
    """Every key without its secret."""
    table = Table("key", "role", "label", "created", "revoked")
    for key in _with_database(data, database_url, keys.list_all):
        revoked = key.revoked_at.isoformat(timespec="seconds") if key.revoked_at else ""
        table.add_row(key.key_id, key.role, key.label, key.created_at.isoformat(timespec="seconds"), revoked)
    out.print(table)


@app.command()
def revoke(key_id: str, data: Data = Path("data"), database_url: Url = None) -> None:
    """Revoke a key; running services refuse it within seconds."""
    if not _with_database(data, database_url, lambda db: keys.revoke(db, key_id)):
        fail(f"no active key {key_id}", todo="`halflight keys list` shows them.")
    talk.print(f"key {key_id} is revoked", markup=False)
