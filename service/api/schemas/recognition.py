"""Wire types of /identify, /verify, /embed and /detect."""

from __future__ import annotations

from typing import Any, Literal

from faces.types import Spectrum
from service.api.schemas.base import Wire
from service.api.schemas.faces import ConditionOut, FaceOut, QualityOut, SightingOut, sighting
from service.inference.engine import FacesFound
from service.matching.comparison import Candidate, Identified, Verified

SCORE_DIGITS = 6


class CandidateOut(Wire):
    rank: int
    subject_id: str
    score: float
    decision: Literal["match", "unknown"]
    margin: float
    metadata: dict[str, Any]
    display_name: str | None = None

    @classmethod
    def of(cls, candidate: Candidate) -> CandidateOut:
        return cls(
            rank=candidate.rank,
            subject_id=candidate.subject_id,
            score=round(candidate.score, SCORE_DIGITS),
            decision="match" if candidate.accepted else "unknown",
            margin=round(candidate.margin, SCORE_DIGITS),
            metadata=dict(candidate.metadata),
            display_name=candidate.display_name,
        )


class IdentifiedOut(SightingOut):
    decision: Literal["match", "unknown"]
    threshold: float
    target_fmr: float | None
    candidates: list[CandidateOut]

    @classmethod
    def of(cls, found: Identified) -> IdentifiedOut:
        return cls(
            **sighting(found.description),
            decision=found.decision,
            threshold=found.decider.threshold,
            target_fmr=found.decider.target_fmr,
            candidates=[CandidateOut.of(candidate) for candidate in found.candidates],
        )


def faces_found(among: FacesFound) -> dict[str, Any]:
    """Returns the fields of `FacesFoundOut`."""
    return {"faces_found": among.found, "faces_below_score": among.below}


class FacesFoundOut(Wire):
    """`faces_found`: faces in the image; `faces_below_score`: detections that scored less than
    `min_detection_score`, of at least 0.3."""

    faces_found: int
    faces_below_score: int


class IdentifyOut(FacesFoundOut):
    space_id: str
    results: list[IdentifiedOut]
    timing_ms: dict[str, float]


class ReferenceOut(Wire):
    """The other side of a verification: an image's face, or an enrolled subject, without a face."""

    subject_id: str | None = None
    face: FaceOut | None = None
    condition: ConditionOut | None = None
    quality: QualityOut | None = None
    faces_found: int | None = None
    faces_below_score: int | None = None


class VerifyOut(FacesFoundOut):
    """`faces_found` and `faces_below_score` are those of the probe."""

    space_id: str
    score: float
    threshold: float
    target_fmr: float | None
    decision: Literal["match", "non-match"]
    probe: SightingOut
    reference: ReferenceOut
    timing_ms: dict[str, float]

    @classmethod
    def of(
        cls,
        verified: Verified,
        space_id: str,
        subject_id: str | None,
        timing_ms: dict[str, float],
        *,
        score_digits: int | None,
    ) -> VerifyOut:
        other = verified.reference
        return cls(
            **faces_found(verified.probe.among),
            space_id=space_id,
            score=round(verified.score, SCORE_DIGITS if score_digits is None else score_digits),
            threshold=verified.decider.threshold,
            target_fmr=verified.decider.target_fmr,
            decision=verified.decision,
            probe=SightingOut(**sighting(verified.probe)),
            reference=ReferenceOut(
                subject_id=subject_id, **(sighting(other) | faces_found(other.among) if other else {})
            ),
            timing_ms=timing_ms,
        )


class EmbeddedOut(SightingOut):
    embedding: list[float]


class EmbedOut(FacesFoundOut):
    space_id: str
    results: list[EmbeddedOut]


class DetectOut(FacesFoundOut):
    results: list[FaceOut]
    spectrum: Spectrum
    image: tuple[int, int]
