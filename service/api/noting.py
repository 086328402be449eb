"""What every answer to a comparison leaves behind before it goes out: metrics, audit entries, events."""

from __future__ import annotations

from collections.abc import Sequence

from service.live.decisions import of_identification, of_verification
from service.live.keeping import Seen
from service.matching.comparison import Identified, Verified
from service.matching.trail import identifications, verification
from service.spaces.space import EmbeddingSpace
from service.state import State


async def note_identifications(
    state: State, space: EmbeddingSpace, actor: str, found: Sequence[Identified], *, camera: str | None = None
) -> None:
    """Counts, records and publishes the identification of each face. Raises AuditUnavailable."""
    for face in found:
        likeliest = str(face.description.condition)
        state.metrics.decisions.labels("identify", likeliest, face.decision).inc()
        spectrum = face.description.condition.spectrum.value
        state.metrics.quality.labels(spectrum).observe(face.description.quality.score)
    await state.audit.record(*identifications(actor, space.space_id, found, camera=camera))
    decisions = [of_identification(actor, space.space_id, one, camera=camera) for one in found]
    await state.outgoing.keep(decisions)
    state.doors.offer(*decisions)
    state.probes.offer(
        space,
        *(Seen(one, face.description) for one, face in zip(decisions, found, strict=True)),
    )


async def note_verification(
    state: State,
    space: EmbeddingSpace,
    actor: str,
    subject_id: str | None,
    verified: Verified,
    *,
    camera: str | None = None,
) -> None:
    """Counts, records and publishes a verification; `subject_id`: None if an image was the reference.

    Raises AuditUnavailable.
    """
    likeliest = str(verified.probe.condition)
    state.metrics.decisions.labels("verify", likeliest, verified.decision).inc()
    await state.audit.record(verification(actor, space.space_id, subject_id, verified, camera=camera))
    decision = of_verification(actor, space.space_id, subject_id, verified, camera=camera)
    await state.outgoing.keep([decision])
    state.doors.offer(decision)
    state.probes.offer(space, Seen(decision, verified.probe))
