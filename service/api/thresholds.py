"""Routes of /admin/thresholds: install thresholds of a site, list their versions, put one in force."""

from __future__ import annotations

import re

from fastapi import APIRouter

from service.api.deps import Admin, SpaceDep, StateDep
from service.api.guard import DocumentRoute
from service.api.problems import problem_docs
from service.api.schemas.thresholds import InstallIn, ThresholdsOut, VersionOut
from service.errors import (
    BodyTooLarge,
    Draining,
    Forbidden,
    InvalidParameter,
    InvalidThresholds,
    MalformedRequest,
    NotReady,
    RateLimited,
    ThresholdsNotFound,
    Unauthorized,
)

BUNDLE = "bundle"
VERSION = re.compile(r"[1-9][0-9]{0,8}")
COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining)

router = APIRouter(prefix="/admin/thresholds", tags=["administration"], route_class=DocumentRoute)


@router.get("", responses=problem_docs(*COMMON))
async def list_thresholds(_admin: Admin, state: StateDep, space: SpaceDep) -> ThresholdsOut:
    """What decides now, by pair of conditions and camera, and every installed version, newest first."""
    return ThresholdsOut.of(space, await state.thresholds.all())


@router.post(
    "", status_code=201, responses=problem_docs(*COMMON, MalformedRequest, BodyTooLarge, InvalidThresholds)
)
async def install_thresholds(asked: InstallIn, admin: Admin, state: StateDep, space: SpaceDep) -> VersionOut:
    """Install what `halflight evaluate` found as a new version, which decides at once if `activate` is true.

    A table that is not monotone, that its own comparisons do not bear out, or of another space is refused.
    """
    view = await state.thresholds.install(space, asked.asked(), admin.key_id)
    return VersionOut.of(view, space)


@router.get("/{version}", responses=problem_docs(*COMMON, ThresholdsNotFound))
async def get_thresholds(version: str, _admin: Admin, state: StateDep, space: SpaceDep) -> VersionOut:
    """One version."""
    return VersionOut.of(await state.thresholds.one(_number(version)), space)


@router.post("/{version}/activate", responses=problem_docs(*COMMON, ThresholdsNotFound, InvalidThresholds))
async def activate_thresholds(version: str, admin: Admin, state: StateDep, space: SpaceDep) -> ThresholdsOut:
    """Decide by this version from now on; `bundle` goes back to the bundle's own thresholds."""
    number = None if version == BUNDLE else _number(version)
    await state.thresholds.activate(space, number, admin.key_id)
    return ThresholdsOut.of(space, await state.thresholds.all())


def _number(version: str) -> int:
    if not VERSION.fullmatch(version):
        raise ThresholdsNotFound("there is no such version of thresholds")
    return int(version)
