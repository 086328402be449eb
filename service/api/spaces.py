"""Routes of /admin/spaces: register, backfill, activate, retire and erase embedding spaces."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.deps import Admin, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.spaces import BackfillOut, RegisterIn, SpaceErasedOut, SpaceOut, SpacesOut
from service.errors import (
    Draining,
    Forbidden,
    InvalidParameter,
    MalformedRequest,
    NotReady,
    RateLimited,
    SpaceNotFound,
    SpaceNotReady,
    Unauthorized,
)

COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining)
ONE = (*COMMON, SpaceNotFound, SpaceNotReady)

router = APIRouter(prefix="/admin/spaces", tags=["administration"], route_class=GuardedRoute)


@router.get("", responses=problem_docs(*COMMON))
async def list_spaces(_admin: Admin, state: StateDep) -> SpacesOut:
    """Every embedding space, oldest first."""
    return SpacesOut(spaces=[SpaceOut.of(view) for view in await state.spaces.all()], next_cursor=None)


@router.post("", status_code=201, responses=problem_docs(*COMMON, MalformedRequest))
async def register_space(asked: RegisterIn, admin: Admin, state: StateDep) -> SpaceOut:
    """Register a bundle: digests verified, parity crops replayed on this host's provider."""
    state.space()
    return SpaceOut.of(await state.spaces.register(asked.bundle, admin.key_id))


@router.get("/{space_id}", responses=problem_docs(*COMMON, SpaceNotFound))
async def get_space(space_id: str, _admin: Admin, state: StateDep) -> SpaceOut:
    """One embedding space."""
    return SpaceOut.of(await state.spaces.one(space_id))


@router.post("/{space_id}/backfill", status_code=202, responses=problem_docs(*ONE))
async def backfill_space(space_id: str, admin: Admin, state: StateDep) -> BackfillOut:
    """Embed the kept crops of every sample that lacks a template; enrolments write to it from now on."""
    view, job_id = await state.spaces.backfill(space_id, admin.key_id)
    return BackfillOut(**SpaceOut.of(view).model_dump(), job_id=job_id)


@router.post("/{space_id}/activate", responses=problem_docs(*ONE))
async def activate_space(space_id: str, admin: Admin, state: StateDep) -> SpaceOut:
    """Serve this space from now on. The way back is the same request with the other space."""
    state.space()
    return SpaceOut.of(await state.spaces.activate(space_id, admin.key_id))


@router.post("/{space_id}/retire", responses=problem_docs(*ONE))
async def retire_space(space_id: str, admin: Admin, state: StateDep) -> SpaceOut:
    """Write no more templates to it; what it has stays."""
    return SpaceOut.of(await state.spaces.retire(space_id, admin.key_id))


@router.delete("/{space_id}", responses=problem_docs(*ONE))
async def erase_space(space_id: str, admin: Admin, state: StateDep) -> SpaceErasedOut:
    """Erase a space that is not active, with its templates and its bundles."""
    return SpaceErasedOut(space_id=space_id, templates=await state.spaces.delete(space_id, admin.key_id))
