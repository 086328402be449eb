"""Implements `halflight keys`: create, list and revoke API keys in the database of the service."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
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
Permissions = Annotated[
    list[str] | None,
    typer.Option("--permission", help="investigate: see every candidate with its exact score."),
]
Expires = Annotated[
    str | None, typer.Option(help="After so long (90d, 12h), or at a date such as 2027-01-31; else never.")
]
PERMISSIONS = ("investigate",)
UNITS = {"h": "hours", "d": "days", "w": "weeks"}

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys, on the service's database.")


@app.command()
def create(
    role: RoleOption,
    label: Label = "",
    permission: Permissions = None,
    expires: Expires = None,
    data: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Create a key. The key alone goes to stdout, once: it is stored nowhere."""
    settings = settings_from(data_dir=data, database_url=database_url)
    if unknown := sorted(set(permission or ()) - set(PERMISSIONS)):
        raise Failure(
            f"--permission: {unknown[0]} is none; permissions: {', '.join(PERMISSIONS)}", exit_code=2
        )
    expires_at = None if expires is None else expiry(expires, datetime.now(UTC))

    async def work(db: Database) -> CreatedKey:
        from service.access import keys

        wanted = keys.NewKey(
            role=keys.Role(role),
            label=label,
            permissions=frozenset(keys.Permission(name) for name in permission or ()),
            expires_at=expires_at,
        )
        return await keys.create(db, wanted)

    _print_key(with_database(settings, work, create_missing=True))


def expiry(text: str, now: datetime) -> datetime:
    """Returns when a key expires: `now` and a span such as 90d, or the start of a date in UTC.

    Raises Failure (exit code 2) if the text is neither, or the time is past.
    """
    try:
        if span := re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text):
            return now + timedelta(**{UNITS[span[2]]: int(span[1])})
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        hint = "give a span such as 90d, 12h or 4w, or a date such as 2027-01-31"
        raise Failure(f"--expires: {text} is no time", hint=hint, exit_code=2) from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    if moment <= now:
        raise Failure("--expires: this time is past", exit_code=2)
    return moment


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

        now = datetime.now(UTC)
        if any(key.role == role and key.active_at(now) for key in await keys.list_all(db)):
            return None
        return await keys.create(db, keys.NewKey(role=keys.Role(role), label=label))

    made = with_database(settings, work, create_missing=True)
    if made is None:
        print_status(f"an active key with the role {role} exists already; none was created")
    else:
        _print_key(made)


@app.command("list")
def list_(data: DataDir = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """List every key, revoked ones too; never its secret."""
    from service.access import keys

    found = with_database(settings_from(data_dir=data, database_url=database_url), keys.list_all)
    if as_json:
        for key in found:
            print_json(
                {
                    "key_id": key.key_id,
                    "role": key.role,
                    "label": key.label,
                    "permissions": list(key.permissions),
                    "created_at": key.created_at.isoformat(),
                    "expires_at": key.expires_at.isoformat() if key.expires_at else None,
                    "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
                    "last_used_at": key.last_used_at.isoformat() if key.last_used_at else None,
                }
            )
        return
    columns = ("id", "role", "label", "permissions", "created", "expires", "last used", "state")
    print_table(columns, (_row(key) for key in found))


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

    if not with_database(settings_from(data_dir=data, database_url=database_url), work):
        raise Failure("there is no active key with this id", hint="`halflight keys list` shows them")
    print_status(f"key {key_id} is revoked", GOOD)


@app.command("rotate-master")
def rotate_master(data: DataDir = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """Replace the master key that the data of all subjects is sealed under; services go on meanwhile.

    Killed in between, the same command goes on. Backups from before open with the old master key only.
    """
    from service.store.rotation import rotate_master as rotate

    settings = settings_from(data_dir=data, database_url=database_url)
    done = with_database(settings, rotate, sealed=True)
    if as_json:
        print_json({"master_key_id": done.master_id, "subjects": done.subjects, "resumed": done.resumed})
        return
    begun = "an interrupted rotation went on: " if done.resumed else ""
    print_status(
        f"{begun}master key {done.master_id} is the current one; {done.subjects} keys lie under it now",
        GOOD,
    )


def with_database(
    settings: Settings,
    work: Callable[[Database], Awaitable[T]],
    *,
    create_missing: bool = False,
    sealed: bool = False,
) -> T:
    """Runs `work` on the migrated database; with `sealed`, it can open what is stored of subjects.

    Raises Failure if the database cannot be used, and without `create_missing` also if there is none yet.
    """
    from service.bulk.erasure import after_erasure
    from service.sealing.keys import MasterKeyError
    from service.sealing.sources import MasterKeys
    from service.store.database import Database
    from service.store.errors import StoreError
    from service.telemetry import configure_logs

    # To stderr: stdout is for the result.
    configure_logs("WARNING")

    async def run() -> T:
        db = await Database.open(settings.sqlalchemy_url, MasterKeys(settings.key_source) if sealed else None)
        db.on_shredded = after_erasure(settings)
        try:
            await db.migrate()
            return await work(db)
        finally:
            await db.close()

    if settings.database_url is None:
        _check_data_dir(settings.data_dir, create_missing=create_missing)
    try:
        return asyncio.run(run())
    except MasterKeyError as error:
        raise Failure(
            str(error),
            hint="give the service's own key with HALFLIGHT_MASTER_KEY or HALFLIGHT_MASTER_KEY_FILE",
            exit_code=2,
        ) from error
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
    print_status(f"key {made.key_id} with the role {made.stored.role} is on stdout; it is not shown again")


def _row(key: StoredKey) -> tuple[object, ...]:
    if key.revoked_at is not None:
        state = Text("revoked", UNSURE)
    elif not key.active_at(datetime.now(UTC)):
        state = Text("expired", UNSURE)
    else:
        state = Text("active", GOOD)
    permissions = ", ".join(key.permissions) or "-"
    used = (key.created_at, key.expires_at, key.last_used_at)
    return key.key_id, key.role, key.label or "-", permissions, *(_moment(each) for each in used), state


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")
