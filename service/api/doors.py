"""Routes of /admin/doors: what each door is and did, and what its rules say of somebody."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from service.api.deps import Admin, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.doors import DoorModeIn, DoorOut, DoorsOut, DoorTestIn, DoorTestOut
from service.doors.judging import Agreement, Presented, judge
from service.doors.ledger import believed_now
from service.doors.rules import NAME
from service.errors import (
    AuditUnavailable,
    DoorIsLive,
    DoorNotFound,
    DoorNotSwitchable,
    Forbidden,
    InvalidParameter,
    MalformedRequest,
    NotReady,
    RateLimited,
    Unauthorized,
)
from service.subjects.validation import validate_subject_id

COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, AuditUnavailable)
MASKS = {"worn": (True,), "not worn": (False,), "uncertain": (False, True)}
AskedDoor = Annotated[str, Path(pattern=f"^{NAME}$")]

router = APIRouter(prefix="/admin/doors", tags=["events"], route_class=GuardedRoute)


@router.get("", responses=problem_docs(*COMMON))
async def show_doors(_admin: Admin, state: StateDep) -> DoorsOut:
    """Every door of this process: its rules, its output, whether it is a dry run, its latest outcomes."""
    found = state.doors.doors.values()
    return DoorsOut(on=state.doors.file is not None, doors=[DoorOut.of(one) for one in found])


@router.put(
    "/{door}/mode", responses=problem_docs(*COMMON, MalformedRequest, DoorNotFound, DoorNotSwitchable)
)
async def switch_door(door: AskedDoor, asked: DoorModeIn, admin: Admin, state: StateDep) -> DoorOut:
    """Make a door live, or a dry run again, if the file says `dry_run = "until-switched"` of it. Audited, and
    kept over restarts."""
    if (found := state.doors.doors.get(door)) is None:
        raise DoorNotFound("the file of doors has no door of this name")
    if not found.door.switchable:
        raise DoorNotSwitchable(
            'only a door with `dry_run = "until-switched"` is switched here; of others the file decides'
        )
    await state.doors.switch(found, live=not asked.dry_run, actor=admin.key_id)
    return DoorOut.of(found)


@router.post("/{door}/test", responses=problem_docs(*COMMON, MalformedRequest, DoorNotFound, DoorIsLive))
async def test_door(door: AskedDoor, asked: DoorTestIn, admin: Admin, state: StateDep) -> DoorTestOut:
    """Which rule would decide about somebody, and why. Only of a door that is a dry run; nothing opens."""
    found, file = state.doors.doors.get(door), state.doors.file
    if found is None or file is None:
        raise DoorNotFound("the file of doors has no door of this name")
    if found.live:
        raise DoorIsLive("only a door that is a dry run is tested; `halflight doors check` explains any")
    subject_id = validate_subject_id(asked.subject_id)
    async with state.db.write() as uow:
        record = await uow.subjects.get(subject_id)
        now = await believed_now(uow) if asked.at is None else asked.at
        seen = Presented(
            subject_id=subject_id,
            known=record is not None,
            metadata={} if record is None else record.metadata,
            camera=asked.camera,
            key_id=admin.key_id if found.door.keys is None else found.door.keys[0],
            masks=MASKS[asked.mask],
            spectrum=asked.spectrum,
            quality=asked.quality,
            fmr=asked.fmr,
        )
        verdict = judge(found.door, file.groups, seen, now, lambda _: Agreement(asked.agree, asked.of))
        detail = {
            "door": door,
            "rule": verdict.rule,
            "reason": verdict.reason,
            "would_open": verdict.allowed,
            "camera": asked.camera,
        }
        await uow.audit.add(admin.key_id, "door.test", subject_id, detail)
        await uow.commit()
    return DoorTestOut.of(door, verdict)
