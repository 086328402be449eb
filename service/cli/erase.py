"""Implements `halflight erase`: erases a subject in the service's database and looks for what is left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.configuration import settings_from
from service.cli.keys import with_database
from service.cli.options import DatabaseUrl, DataDir, Json
from service.cli.output import GOOD, Failure, print_json, print_status, print_table

if TYPE_CHECKING:
    from service.enrolment.enroller import Receipt
    from service.store.database import Database
    from service.subjects.residue import Found, Trace

ACTOR = "cli"
Verify = Annotated[
    bool, typer.Option("--verify", help="Then search every file for what was stored of the subject.")
]
Also = Annotated[
    list[Path] | None,
    typer.Option(help="Search this directory too: of PostgreSQL, of logs, of backups. Repeatable."),
]


def erase(
    subject_id: Annotated[str, typer.Argument(metavar="SUBJECT")],
    verify: Verify = False,
    also: Also = None,
    data: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Erase a subject, on the service's machine, whether the service runs or not.

    With --verify it ends with exit code 1 if a file still shows the subject's id, name, metadata, a
    template, a search vector of HALFLIGHT_GALLERY=pgvector, a crop or its key.
    """
    from service.subjects.residue import search

    settings = settings_from(data_dir=data, database_url=database_url)
    places = [settings.data_dir, *(also or ())]
    for place in places:
        if not place.is_dir():
            raise Failure(f"{place} is no directory", exit_code=2)

    async def work(db: Database) -> tuple[Receipt, tuple[Trace, ...]]:
        return await _erase(db, subject_id)

    receipt, wanted = with_database(settings, work, sealed=True)
    found: list[Found] = []
    count = 0
    if verify:
        try:
            found, count = search(places, wanted)
        except OSError as error:
            raise Failure(
                f"{error.filename}: {error.strerror}", hint="run it as a user who may read every file"
            ) from error
    _print(subject_id, receipt, found, count if verify else None, as_json=as_json)
    if found:
        raise Failure(
            "the subject is erased, and some files still show it",
            hint="the service writes none of it in clear but search vectors, which PostgreSQL's journal and"
            " free room keep for a while: look for logs and copies, and for PostgreSQL's journal from before"
            " the upgrade that hid ids",
        )


async def _erase(db: Database, subject_id: str) -> tuple[Receipt, tuple[Trace, ...]]:
    from service.enrolment.enroller import erase_subject
    from service.errors import OnHold, SubjectNotFound
    from service.subjects.residue import traces

    async with db.read() as uow:
        wanted = await traces(uow, subject_id)
    try:
        return await erase_subject(db, subject_id, ACTOR), wanted
    except OnHold as error:
        raise Failure(error.detail, hint="`halflight subjects release SUBJECT` lifts it") from error
    except SubjectNotFound as error:
        raise Failure(error.detail, hint="`halflight subjects list` shows who is enrolled") from error


def _print(
    subject_id: str, receipt: Receipt, found: list[Found], count: int | None, *, as_json: bool
) -> None:
    erased = receipt.erased
    if as_json:
        print_json(
            {
                "subject_id": subject_id,
                "erased": {
                    "samples": erased.samples,
                    "templates": erased.templates,
                    "crops": erased.crops,
                },
                "shredded": [] if erased.key_id is None else [f"subject key {erased.key_id}"],
                "audit_id": receipt.audit_id,
                "files_searched": count,
                "found": [{"file": str(one.path), "what": one.what} for one in found],
            }
        )
        return
    print_table(
        ("erased", ">samples", ">templates", ">crops", "shredded", ">audit entry"),
        [
            (
                *(subject_id, erased.samples, erased.templates, erased.crops),
                *(f"subject key {erased.key_id or '-'}", receipt.audit_id),
            )
        ],
    )
    if found:
        print_table(("still there", "file"), [(one.what, one.path) for one in found])
    elif count is not None:
        print_status(f"{count} files searched: nothing of the subject is left", GOOD)
