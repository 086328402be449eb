"""Erases what is past its time: crops, audit entries, answers of old Idempotency-Keys, subjects.

What is due follows from the clock, and a clock can be wrong: one that jumps 30 days ahead would erase
30 days of crops that no clock brings back. So retention notes the time whenever it runs. If more than
`LARGEST_STEP` has passed since, it erases nothing and says so; only after the clock has gone on evenly
for `DOUBT_LASTS` is the new time believed. A service that was stopped for long waits as long.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from service.audit.signing import AuditSigner
from service.settings import Settings
from service.store.database import Database
from service.store.records import AuditCheckpoint
from service.store.retention import ClockMark
from service.store.terms import MATCH_STEP
from service.store.unit import UnitOfWork

IDEMPOTENCY_KEPT = timedelta(hours=24)
LARGEST_STEP = timedelta(hours=24)
DOUBT_LASTS = timedelta(hours=24)
# The longest time between two runs of a service that was not stopped, with room for a busy database.
EVEN_STEP = timedelta(hours=3)
# Subjects of one transaction; others write between two.
SUBJECTS_AT_ONCE = 200
ACTOR = "retention"

log = structlog.get_logger("halflight.retention")


def next_mark(last: ClockMark | None, now: datetime) -> tuple[ClockMark, bool]:
    """Returns the new mark, and whether `now` is believed."""
    if last is None or now < last.seen_at:
        # Nothing is known yet, or the clock went back: then nothing is due too early.
        return ClockMark(now), True
    step = now - last.seen_at
    if last.doubted_since is None:
        return (ClockMark(now), True) if step <= LARGEST_STEP else (ClockMark(now, now), False)
    if step > EVEN_STEP:
        return ClockMark(now, now), False
    if now - last.doubted_since < DOUBT_LASTS:
        return ClockMark(now, last.doubted_since), False
    return ClockMark(now), True


async def believed_time(uow: UnitOfWork) -> datetime | None:
    """Returns the time of the database and notes it; None while it is doubted."""
    last, now = await uow.clock.mark(), await uow.clock.now()
    mark, believed = next_mark(last, now)
    await uow.clock.set_mark(mark)
    if believed:
        return now
    if last is not None and mark.doubted_since == now:
        step_days = round((now - last.seen_at) / timedelta(days=1), 2)
        log.warning("the clock is ahead, or the service stood still: nothing is erased", days=step_days)
        detail = {"step_days": step_days, "waits_hours": DOUBT_LASTS / timedelta(hours=1)}
        await uow.audit.add(ACTOR, "retention.wait", None, detail)
    return None


async def erase_expired(uow: UnitOfWork, settings: Settings, signer: AuditSigner) -> datetime | None:
    """Erases what the settings let expire, each kind with an audit entry. Raises StoreError.

    Crops that the operator no longer wants at all (`keep_crops`) go whatever the clock says; nothing
    touches those of subjects on hold. Returns the time, None while it is doubted.
    """
    now = await believed_time(uow)
    if not settings.keep_crops:
        await _expire_crops(uow, None)
    if now is None:
        return None
    await uow.clock.begin_matches(now)
    await uow.idempotency.purge(now - IDEMPOTENCY_KEPT)
    await uow.tracks.purge(now - IDEMPOTENCY_KEPT)
    if settings.keep_crops and settings.crop_days:
        await _expire_crops(uow, now - timedelta(days=settings.crop_days))
    if settings.audit_days:
        await _expire_audit(uow, now - timedelta(days=settings.audit_days), signer)
    return now


async def erase_expired_subjects(db: Database, settings: Settings, now: datetime) -> int:
    """Erases subjects whose time is over, some in each transaction; returns their number.

    That is after their own `expires_at`, and after `subject_retention_days` without a match or a new
    sample; none on hold. Each has an audit entry with the numbers of a receipt. `now`: a time that
    `erase_expired` believed. Galleries follow the log. Raises StoreError.
    """
    total = 0
    while erased := await _erase_due(db, now, await _unmatched_before(db, settings, now)):
        total += erased
    if total:
        log.info("subjects were erased because their time was over", subjects=total)
    return total


async def _unmatched_before(db: Database, settings: Settings, now: datetime) -> datetime | None:
    """Who was neither matched nor enrolled since may go; None if that is no reason, or not known yet."""
    if not settings.subject_retention_days:
        return None
    before = now - timedelta(days=settings.subject_retention_days)
    async with db.read() as uow:
        since = await uow.clock.matches_since()
    if since is None or since > before:
        # Matches of an earlier time were not noted: nobody can be known to have had none.
        return None
    return before - MATCH_STEP


async def _erase_due(db: Database, now: datetime, unmatched_before: datetime | None) -> int:
    async with db.write(erasing=True) as uow:
        found = await uow.terms.due(now, unmatched_before, SUBJECTS_AT_ONCE)
        if not found:
            return 0
        # Somebody may have put one on hold, or enrolled another sample, before the locks were ours.
        await uow.subjects.lock(found)
        due = await uow.terms.due(now, unmatched_before, SUBJECTS_AT_ONCE, among=found)
        erased = await uow.subjects.begin_erasure(list(due))
        names = await uow.audit.names_of(erased)
        for subject_id, numbers in erased.items():
            detail: dict[str, str | int | None] = {
                "samples": numbers.samples,
                "templates": numbers.templates,
                "crops": numbers.crops,
                "shredded": numbers.key_id,
                "why": due[subject_id],
            }
            await uow.audit.add(ACTOR, "subject.expire", None, detail, name=names.get(subject_id))
        await uow.subjects.end_erasure(list(erased))
        await uow.commit()
    return len(found)


async def _expire_crops(uow: UnitOfWork, before: datetime | None) -> None:
    if erased := await uow.crops.purge(before):
        detail = {"crops": erased, "before": None if before is None else before.isoformat()}
        await uow.audit.add(ACTOR, "crops.expire", None, detail)


async def expire_events(db: Database, settings: Settings, now: datetime) -> int:
    """Erases events that some receiver has not confirmed in `undelivered_days`; returns how many.

    `now`: a time that `erase_expired` believed. Raises StoreError.
    """
    if not settings.undelivered_days:
        return 0
    before = now - timedelta(days=settings.undelivered_days)
    async with db.write(erasing=True) as uow:
        erased = await uow.outbox.expire(before)
        if erased:
            detail = {"events": erased, "before": before.isoformat()}
            await uow.audit.add(ACTOR, "events.expire", None, detail)
        await uow.commit()
    if erased:
        log.warning("events were erased that a receiver never confirmed", events=erased)
    return erased


async def expire_probes(uow: UnitOfWork, settings: Settings) -> None:
    """Erases crops of probes past their hours, those beyond the limit, or, if none are wanted, all.

    It does not doubt the clock: a crop that goes too early is no loss, one that stays too long is.
    """
    hours = settings.keep_probes_hours
    before = await uow.clock.now() - timedelta(hours=hours) if hours else None
    erased = await uow.probes.purge(before) + await uow.probes.trim(settings.keep_probes_max)
    if erased:
        detail = {"probes": erased, "before": None if before is None else before.isoformat()}
        await uow.audit.add(ACTOR, "probes.expire", None, detail)


async def _expire_audit(uow: UnitOfWork, before: datetime, signer: AuditSigner) -> None:
    """Removes old entries; a signed checkpoint takes their place, so that the chain still verifies."""
    if (end := await uow.audit.last_before(before)) is None:
        return
    head = signer.sign(end)
    removed = await uow.audit.remove_to(
        AuditCheckpoint(head.audit_id, head.digest, head.at, head.public_key, head.signature)
    )
    detail = {"entries": removed, "to_audit_id": end.audit_id, "to_digest": end.digest}
    await uow.audit.add(ACTOR, "audit.expire", None, detail)
