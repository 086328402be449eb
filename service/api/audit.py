"""Routes of /admin/audit: read the audit log, and get its signed head."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query

from faces.strict import ZonedMoment
from service.api.deps import Admin, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.audit import AuditEntryOut, AuditHeadOut, AuditOut
from service.errors import (
    AuditUnavailable,
    Draining,
    Forbidden,
    InvalidParameter,
    NotReady,
    RateLimited,
    SubjectNotFound,
    Unauthorized,
)
from service.store.records import AuditFilter

CURSOR = re.compile(r"[0-9]{1,18}")
COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, AuditUnavailable, Draining)

router = APIRouter(prefix="/admin/audit", tags=["administration"], route_class=GuardedRoute)

Text = Annotated[str | None, Query(max_length=128)]


@router.get("", responses=problem_docs(*COMMON, SubjectNotFound))
async def list_entries(
    _admin: Admin,
    state: StateDep,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    actor: Text = None,
    action: Text = None,
    subject_id: Text = None,
    subject: Text = None,
    since: ZonedMoment | None = None,
    until: ZonedMoment | None = None,
) -> AuditOut:
    """Entries, newest first; `next_cursor` leads to the next page, null after the last.

    `subject_id` finds the entries of an enrolled subject; `subject` those with a pseudonym. Entries of
    an erased subject keep a pseudonym that nothing links to it.
    """
    if cursor is not None and not CURSOR.fullmatch(cursor):
        raise InvalidParameter("`cursor` is not one this service gave")
    if subject is not None and subject_id is not None:
        raise InvalidParameter("give `subject` or `subject_id`, not both")
    async with state.db.read() as uow:
        if subject_id is not None and (subject := await uow.audit.find_name(subject_id)) is None:
            raise SubjectNotFound(f"no subject {subject_id} is enrolled")
        wanted = AuditFilter(actor=actor, action=action, subject=subject, since=since, until=until)
        page = await uow.audit.page(None if cursor is None else int(cursor), limit + 1, wanted)
    more = len(page) > limit
    return AuditOut(
        entries=[AuditEntryOut.of(entry) for entry in page[:limit]],
        next_cursor=str(page[limit - 1].audit_id) if more else None,
    )


@router.get("/head", responses=problem_docs(*COMMON))
async def signed_head(_admin: Admin, state: StateDep) -> AuditHeadOut:
    """The last entry's number and digest, signed. `halflight audit verify --head FILE` checks against it."""
    async with state.db.read() as uow:
        head = await uow.audit.head()
    return AuditHeadOut.of(state.signer.sign(head))
