"""Routes of /admin/keys: create, list and revoke API keys."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query

from service.api.deps import Admin, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.keys import CreatedKeyOut, KeyIn, KeyOut, KeysOut
from service.errors import (
    Draining,
    Forbidden,
    InvalidParameter,
    KeyNotFound,
    LastAdminKey,
    MalformedRequest,
    NotReady,
    RateLimited,
    Unauthorized,
)

KEY_ID = re.compile(r"[0-9a-f]{12}")
COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining)

router = APIRouter(prefix="/admin/keys", tags=["administration"], route_class=GuardedRoute)


@router.post("", status_code=201, responses=problem_docs(*COMMON, MalformedRequest, LastAdminKey))
async def create_key(asked: KeyIn, admin: Admin, state: StateDep) -> CreatedKeyOut:
    """Create a key. Its token is in this answer and nowhere else.

    `permissions`: `investigate` lets a key of role `probe` see every candidate with its exact score.
    Where no key exists yet, the first one must have the role admin.
    """
    return CreatedKeyOut.made(await state.keys.create(asked.wanted(), actor=admin.key_id))


@router.get("", responses=problem_docs(*COMMON))
async def list_keys(
    _admin: Admin,
    state: StateDep,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> KeysOut:
    """Keys by id, revoked and expired ones too; `next_cursor` leads to the next page."""
    if cursor is not None and not KEY_ID.fullmatch(cursor):
        raise InvalidParameter("`cursor` is not one this service gave")
    page = await state.keys.page(cursor, limit + 1)
    more = len(page) > limit
    return KeysOut(
        keys=[KeyOut.of(key) for key in page[:limit]], next_cursor=page[limit - 1].key_id if more else None
    )


@router.delete("/{key_id}", responses=problem_docs(*COMMON, KeyNotFound, LastAdminKey))
async def revoke_key(
    key_id: str,
    admin: Admin,
    state: StateDep,
    allow_last: Annotated[bool, Query(description="revoke the last admin key as well")] = False,
) -> KeyOut:
    """Revoke a key: at once in this process, within three seconds in others."""
    if not KEY_ID.fullmatch(key_id):
        raise KeyNotFound("there is no such key: the list of keys names those that exist")
    return KeyOut.of(await state.keys.revoke(key_id, actor=admin.key_id, allow_last=allow_last))
