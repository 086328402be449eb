"""Routes of /admin/webhooks: what receivers have not confirmed, and sending it again."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter

from service.api.deps import Admin, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.webhooks import DeadEventOut, ReceiverOut, ReplayedOut, ReplayIn, WebhooksOut
from service.delivery.channel import Kind
from service.delivery.outgoing import Attempted
from service.errors import (
    AuditUnavailable,
    Forbidden,
    InvalidParameter,
    MalformedRequest,
    NotReady,
    RateLimited,
    Unauthorized,
)
from service.state import State
from service.store.outbox import Undelivered

NONE = Undelivered(0, 0)
COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, AuditUnavailable)
MAX_SHOWN = 100

router = APIRouter(prefix="/admin/webhooks", tags=["events"], route_class=GuardedRoute)


@router.get("", responses=problem_docs(*COMMON))
async def show_webhooks(_admin: Admin, state: StateDep) -> WebhooksOut:
    """How many events wait for each receiver, and those that are tried no more."""
    async with state.db.read() as uow:
        found = await uow.outbox.count()
        letters = await uow.outbox.dead(MAX_SHOWN)
    kinds: dict[str, Kind] = {one.name: one.kind for one in state.outgoing.receivers}
    return WebhooksOut(
        on=bool(kinds),
        waiting=sum(one.waiting for one in found.values()),
        dead=sum(one.dead for one in found.values()),
        receivers=[
            _receiver(state, name, kinds.get(name), found.get(name, NONE))
            for name in (*kinds, *sorted(found.keys() - kinds.keys()))
        ],
        dead_letters=[
            DeadEventOut(
                event_id=one.event_id,
                receiver=one.receiver,
                at=one.at,
                attempts=one.attempts,
                last_error=one.last_error,
            )
            for one in letters
        ],
    )


def _receiver(state: State, name: str, kind: Kind | None, left: Undelivered) -> ReceiverOut:
    latest = state.outgoing.attempted.get(name, Attempted())
    return ReceiverOut(
        name=name,
        kind=kind,
        waiting=left.waiting,
        dead=left.dead,
        last_delivered_at=latest.delivered_at,
        last_failed_at=latest.failed_at,
        last_error=latest.error,
    )


@router.post("/replay", responses=problem_docs(*COMMON, MalformedRequest))
async def replay_webhooks(asked: ReplayIn, admin: Admin, state: StateDep) -> ReplayedOut:
    """Try dead events again, these or all, for one receiver or all, with as many attempts as new ones."""
    async with state.db.write() as uow:
        replayed = await uow.outbox.replay(asked.event_ids, asked.receiver, datetime.now(UTC))
        await uow.audit.add(admin.key_id, "webhook.replay", None, {"events": replayed})
        await uow.commit()
    state.outgoing.wake()
    return ReplayedOut(replayed=replayed)
