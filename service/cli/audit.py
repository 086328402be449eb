"""Implements `halflight audit`: verify and export the audit log in the database of the service."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.configuration import settings_from
from service.cli.keys import with_database
from service.cli.options import DatabaseUrl, DataDir, Json
from service.cli.output import GOOD, Failure, print_json, print_status

if TYPE_CHECKING:
    from service.audit.verification import Verified
    from service.store.database import Database

PublicKey = Annotated[
    str | None,
    typer.Option("--public-key", help="Trust heads of this key alone (64 hexadecimal digits, noted before)."),
]

app = typer.Typer(no_args_is_help=True, help="Verify and export the audit log, on the service's database.")


@app.command()
def verify(
    export: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="An export; without it, the log in the database.")
    ] = None,
    head: Annotated[
        Path | None, typer.Option(help="A signed head that was kept: the log must still hold it.")
    ] = None,
    public_key: PublicKey = None,
    data: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Check that no entry was changed, removed or inserted. Exit code 1 if one was."""
    from service.audit.signing import BadSignature, SignedHead
    from service.audit.verification import verify_export, verify_log
    from service.store.audit_chain import BrokenChain

    async def work(db: Database) -> Verified:
        return await verify_log(db, trusted_key=public_key, kept=kept)

    try:
        kept = None if head is None else SignedHead.of(json.loads(head.read_text()))
        if export is None:
            settings = settings_from(data_dir=data, database_url=database_url)
            found = with_database(settings, work)
        else:
            with export.open(encoding="utf-8") as lines:
                found = verify_export(lines, trusted_key=public_key)
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from error
    except (BrokenChain, BadSignature) as error:
        hint = "the log was changed behind the service's back: keep it, and compare with an earlier export"
        raise Failure(f"the audit log does not verify: {error}", hint=hint) from error
    except ValueError as error:
        raise Failure("the file is no signed head: it must be JSON", exit_code=2) from error
    if as_json:
        end = {"entries": found.entries, "start": found.start.audit_id, "audit_id": found.head.audit_id}
        print_json(end | {"digest": found.head.digest})
        return
    since = f", the first after checkpoint {found.start.audit_id}" if found.start.audit_id else ""
    print_status(f"{found.entries} entries verify{since}; the last is {found.head.audit_id}", GOOD)


@app.command()
def export(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; it must not exist.")],
    data: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write the whole log as JSON lines, with its signed head last; readable by its owner alone."""
    from service.audit.signing import open_signer
    from service.audit.verification import export_log
    from service.key_file import KeyFileError

    settings = settings_from(data_dir=data, database_url=database_url)

    async def work(db: Database) -> dict[str, Any]:
        return await _write(to, export_log(db, signer))

    try:
        signer = open_signer(settings.given_audit_key, settings.data_dir)
        last = with_database(settings, work)
    except KeyFileError as error:
        hint = "give --data, or HALFLIGHT_AUDIT_KEY as the service has it"
        raise Failure(str(error), hint=hint) from error
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from error
    head = last["head"]
    print_status(f"exported up to entry {head['audit_id']}, signed by {head['public_key']}", GOOD)


async def _write(to: Path, objects: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    """Writes each object as a line of a new file, and returns the last one."""
    last: dict[str, Any] = {}
    descriptor = await asyncio.to_thread(os.open, to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        async for last in objects:
            file.write(json.dumps(last) + "\n")
    return last
