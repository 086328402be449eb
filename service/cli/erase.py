"""Implements `halflight erase`: erases a subject in the service's database and looks for what is left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.configuration import settings_from
from service.cli.keys import with_database
from service.cli.options import DatabaseUrl, DataDir, Json
from service.cli.output import GOOD, Failure, print_json, print_status, print_table

if TYPE_CHECKING:
    from service.enrolment.enroller import Receipt
    from service.settings import Settings
    from service.store.database import Database
    from service.subjects.gallery_residue import GalleryResidue
    from service.subjects.residue import Found, Trace

ACTOR = "cli"
Verify = Annotated[
    bool, typer.Option("--verify", help="Then search every file, and ask the gallery, for what is left.")
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
    template, a search vector of HALFLIGHT_GALLERY=pgvector, a crop or its key, or if PostgreSQL or Milvus
    (HALFLIGHT_GALLERY=pgvector, milvus) still has a row of the subject or one without a template, or does
    not answer. With HALFLIGHT_GALLERY=milvus nothing is erased while Milvus does not answer.
    """
    from service.subjects.residue import search

    settings = settings_from(data_dir=data, database_url=database_url)
    places = [settings.data_dir, *(also or ())]
    for place in places:
        if not place.is_dir():
            raise Failure(f"{place} is no directory", exit_code=2)

    async def work(db: Database) -> tuple[Receipt, tuple[Trace, ...], GalleryResidue | None]:
        return await _erase(db, subject_id, settings, verify=verify)

    receipt, wanted, residue = with_database(settings, work, sealed=True)
    found: list[Found] = []
    count = 0
    if verify:
        try:
            found, count = search(places, wanted)
        except OSError as error:
            raise Failure(
                f"{error.filename}: {error.strerror}", hint="run it as a user who may read every file"
            ) from error
    _print(subject_id, receipt, found, count if verify else None, residue, as_json=as_json)
    if found:
        raise Failure(
            "the subject is erased, and some files still show it",
            hint="the service writes none of it in clear but search vectors, which PostgreSQL's journal and"
            " free room keep for a while: look for logs and copies, and for PostgreSQL's journal from before"
            " the upgrade that hid ids",
        )
    if residue is not None and not residue.clean:
        raise _left_in(residue)


async def _erase(
    db: Database, subject_id: str, settings: Settings, *, verify: bool
) -> tuple[Receipt, tuple[Trace, ...], GalleryResidue | None]:
    from service.enrolment.enroller import erase_subject
    from service.errors import OnHold, SubjectNotFound
    from service.store.errors import StoreError
    from service.store.search_schema import GalleryOptions, GalleryRefused
    from service.subjects.gallery_residue import connect, gallery_residue
    from service.subjects.residue import traces

    try:
        await connect(db, GalleryOptions.of(settings))
    except GalleryRefused as error:
        raise Failure(f"nothing is erased: {error}", hint="look at HALFLIGHT_GALLERY") from error
    async with db.read() as uow:
        wanted = await traces(uow, subject_id)
    try:
        receipt = await erase_subject(db, subject_id, ACTOR)
    except OnHold as error:
        raise Failure(error.detail, hint="`halflight subjects release SUBJECT` lifts it") from error
    except SubjectNotFound as error:
        raise Failure(error.detail, hint="`halflight subjects list` shows who is enrolled") from error
    except StoreError as error:
        if db.milvus is None:
            raise
        raise await _half_done(db, subject_id, error) from error
    residue = await gallery_residue(db, settings.gallery, receipt.removed) if verify else None
    return receipt, wanted, residue


async def _half_done(db: Database, subject_id: str, error: Exception) -> Failure:
    """What an erasure that failed has done. Milvus goes last, after the commit."""
    async with db.read() as uow:
        if await uow.subjects.get(subject_id) is not None:
            return Failure(f"nothing is erased: {error}")
    return Failure(
        f"the subject is erased, and its rows in Milvus may be left: {error}",
        hint="a running service erases them as soon as Milvus answers",
    )


def _left_in(residue: GalleryResidue) -> Failure:
    if residue.trouble is not None:
        return Failure(
            f"the subject is erased, and the gallery cannot be asked what it holds: {residue.trouble}",
            hint="a running service erases rows without a template as soon as Milvus answers",
        )
    if residue.of_subject:
        return Failure(
            f"the subject is erased, and {residue.engine} still has {residue.of_subject} rows of it",
            hint="start the service, or look at its log: it erases rows without a template",
        )
    return Failure(
        f"the subject is erased, and {residue.engine} has {residue.ownerless} rows that no template owns",
        hint="some may be of photos that the subject had before; a start of the service erases them after a"
        " minute",
    )


def _print(
    subject_id: str,
    receipt: Receipt,
    found: list[Found],
    count: int | None,
    residue: GalleryResidue | None,
    *,
    as_json: bool,
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
                "gallery": None if residue is None else _as_json(residue),
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
    if residue is not None and residue.clean:
        asked = residue.of_subject is not None
        told = f"{residue.engine} was asked: it has no row of the subject, and none without a template"
        print_status(
            told if asked else "the embedded gallery keeps nothing elsewhere: no engine was asked", GOOD
        )


def _as_json(residue: GalleryResidue) -> dict[str, Any]:
    return {
        "engine": residue.engine,
        "rows_of_subject": residue.of_subject,
        "rows_without_template": residue.ownerless,
        "trouble": residue.trouble,
    }
