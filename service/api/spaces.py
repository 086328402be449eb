"""/admin/spaces: register a bundle, fill its space, switch to it, go back, erase what is left over."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from service.api.deps import Admin, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas import Wire
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
from service.spaces.view import SpaceView

COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining)
ONE = (*COMMON, SpaceNotFound, SpaceNotReady)

router = APIRouter(prefix="/admin/spaces", tags=["administration"], route_class=GuardedRoute)


class BundleOut(Wire):
    """The bundle that a space is served from; `digest`: SHA-256 of its manifest."""

    name: str
    version: str
    digest: str
    registered_at: str


class SpaceOut(Wire):
    """`missing`: samples without a template in it. `backfill`: how far the last one is or came.

    `message` says what stands in the way, empty where nothing does.
    """

    space_id: str
    state: Literal["registered", "backfilling", "ready", "active", "retired"]
    bundle: BundleOut | None
    metrics: dict[str, Any]
    templates: int
    missing: int
    backfill: dict[str, Any] | None
    message: str
    created_at: str

    @classmethod
    def of(cls, view: SpaceView) -> SpaceOut:
        bundle = view.bundle
        return cls(
            space_id=view.record.space_id,
            state=view.record.state,
            bundle=None
            if bundle is None
            else BundleOut(
                name=bundle.name,
                version=bundle.version,
                digest=bundle.digest,
                registered_at=bundle.registered_at.isoformat(),
            ),
            metrics=dict(bundle.metrics) if bundle else {},
            templates=view.templates,
            missing=view.missing,
            backfill=None if view.backfill is None else dict(view.backfill),
            message=view.message,
            created_at=view.record.created_at.isoformat(),
        )


class SpacesOut(Wire):
    spaces: list[SpaceOut]
    next_cursor: str | None


class RegisterIn(Wire):
    """`bundle`: a directory's name in the registry directory (`HALFLIGHT_BUNDLES`)."""

    bundle: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class BackfillOut(SpaceOut):
    """`job_id`: the job that tells how far it is, and cancels it."""

    job_id: str


class SpaceErasedOut(Wire):
    space_id: str
    templates: int


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
