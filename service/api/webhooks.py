"""Routes of /admin/webhooks: what the receiver has not confirmed, and sending it again."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter

from service.api.deps import Admin, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.webhooks import DeadEventOut, ReplayedOut, ReplayIn, WebhooksOut
from service.errors import (
    AuditUnavailable,
    Forbidden,
    InvalidParameter,
    MalformedRequest,
    NotReady,
    RateLimited,
    Unauthorized,
)

COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, AuditUnavailable)
MAX_SHOWN = 100

router = APIRouter(prefix="/admin/webhooks", tags=["events"], route_class=GuardedRoute)


@router.get("", responses=problem_docs(*COMMON))
async def show_webhooks(_admin: Admin, state: StateDep) -> WebhooksOut:
    """How many events wait for the receiver, and those that are tried no more."""
    async with state.db.read() as uow:
        waiting, dead = await uow.outbox.count()
        letters = await uow.outbox.dead(MAX_SHOWN)
    return WebhooksOut(
        on=state.webhooks.on,
        waiting=waiting,
        dead=dead,
        dead_letters=[
            DeadEventOut(event_id=one.event_id, at=one.at, attempts=one.attempts, last_error=one.last_error)
            for one in letters
        ],
    )


@router.post("/replay", responses=problem_docs(*COMMON, MalformedRequest))
async def replay_webhooks(asked: ReplayIn, admin: Admin, state: StateDep) -> ReplayedOut:
    """Try dead events again, these or all, with as many attempts as new ones have."""
    async with state.db.write() as uow:
        replayed = await uow.outbox.replay(asked.event_ids, datetime.now(UTC))
        await uow.audit.add(admin.key_id, "webhook.replay", None, {"events": replayed})
        await uow.commit()
    return ReplayedOut(replayed=replayed)
