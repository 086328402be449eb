"""Implements `halflight keys`: create, list and revoke API keys in the database of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.text import Text

from service.cli.configuration import settings_from
from service.cli.options import DatabaseUrl, DataDir, Json
from service.cli.output import GOOD, UNSURE, Failure, print_json, print_line, print_status, print_table

if TYPE_CHECKING:
    from service.access.keys import CreatedKey
    from service.settings import Settings
    from service.store.database import Database
    from service.store.records import StoredKey

T = TypeVar("T")
RoleOption = Annotated[
    Literal["probe", "operator", "admin"],
    typer.Option(help="probe identifies and verifies; operator also enrols; admin does all."),
]
Label = Annotated[str, typer.Option(help="What the key is for, shown in the list.")]

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys, on the service's database.")


@app.command()
def create(
    role: RoleOption, label: Label = "", data: DataDir = None, database_url: DatabaseUrl = None
) -> None:
    """Create a key. The key alone goes to stdout, once: it is stored nowhere."""
    settings = settings_from(data_dir=data, database_url=database_url)

    async def work(db: Database) -> CreatedKey:
        from service.access import keys

        return await keys.create(db, role=keys.Role(role), label=label)

    _print_key(_with_database(settings, work, create_missing=True))


@app.command()
def ensure(
    role: RoleOption = "admin",
    label: Label = "first key",
    data: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Create a key of a role only where no active one exists; otherwise print nothing on stdout."""
    settings = settings_from(data_dir=data, database_url=database_url)

    async def work(db: Database) -> CreatedKey | None:
        from service.access import keys

        if any(key.role == role and key.revoked_at is None for key in await keys.list_all(db)):
            return None
        return await keys.create(db, role=keys.Role(role), label=label)

    made = _with_database(settings, work, create_missing=True)
    if made is None:
        print_status(f"an active key with the role {role} exists already; none was created")
    else:
        _print_key(made)


@app.command("list")
def list_(data: DataDir = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """List every key, revoked ones too; never its secret."""
    from service.access import keys

    found = _with_database(settings_from(data_dir=data, database_url=database_url), keys.list_all)
    if as_json:
        for key in found:
            print_json(
                {
                    "key_id": key.key_id,
                    "role": key.role,
                    "label": key.label,
                    "created_at": key.created_at.isoformat(),
                    "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
                }
            )
        return
    print_table(("id", "role", "label", "created", "state"), (_row(key) for key in found))


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As in the list, not the key itself.")],
    data: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Revoke a key; services stop taking it within five seconds."""
    from service.access import keys

    async def work(db: Database) -> bool:
        return await keys.revoke(db, key_id)

    if not _with_database(settings_from(data_dir=data, database_url=database_url), work):
        raise Failure("there is no active key with this id", hint="`halflight keys list` shows them")
    print_status(f"key {key_id} is revoked", GOOD)


def _with_database(
    settings: Settings, work: Callable[[Database], Awaitable[T]], *, create_missing: bool = False
) -> T:
    """Runs `work` on the migrated database.

    Raises Failure if the database cannot be used, and without `create_missing` also if there is none yet.
    """
    from service.store.database import Database
    from service.store.errors import StoreError

    async def run() -> T:
        db = await Database.open(settings.sqlalchemy_url)
        try:
            await db.migrate()
            return await work(db)
        finally:
            await db.close()

    if settings.database_url is None:
        _check_data_dir(settings.data_dir, create_missing=create_missing)
    try:
        return asyncio.run(run())
    except StoreError as error:
        raise Failure(
            f"the database cannot be used: {error}", hint="check --data or --database-url"
        ) from error


def _check_data_dir(data_dir: Path, *, create_missing: bool) -> None:
    if create_missing:
        try:
            from service.access.private import make_private

            make_private(data_dir)
        except OSError as error:
            raise Failure(f"{data_dir}: {error.strerror}") from error
    elif not (data_dir / "halflight.db").exists():
        raise Failure(
            f"{data_dir} holds no database of the service",
            hint="name the service's data directory with --data, or its --database-url",
        )


def _print_key(made: CreatedKey) -> None:
    print_line(made.token)
    print_status(f"key {made.key_id} with the role {made.role.value} is on stdout; it is not shown again")


def _row(key: StoredKey) -> tuple[object, ...]:
    state = Text("revoked", UNSURE) if key.revoked_at else Text("active", GOOD)
    return key.key_id, key.role, key.label, key.created_at.strftime("%Y-%m-%d %H:%M:%S"), state
