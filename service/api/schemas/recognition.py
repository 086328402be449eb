"""Wire types of /identify, /verify, /embed and /detect."""

from __future__ import annotations

from typing import Any, Literal

from faces.types import Face, Role, Spectrum
from service.api.schemas.base import Wire
from service.api.schemas.faces import ConditionOut, FaceOut, QualityOut, SightingOut, sighting
from service.inference.engine import Description, FacesFound
from service.inference.liveness_reading import Liveness
from service.inference.quality import Quality
from service.matching.comparison import Candidate, Decision, Identified, Verified
from service.matching.rules import Rule
from service.spaces.space import EmbeddingSpace

SCORE_DIGITS = 6


class CalibrationOut(Wire):
    """Where a threshold comes from. `id`: digest of the table of thresholds. `pair`: the conditions of the
    reference and of the probe, such as `vis-unmasked/nir-masked`; `calibrated`: whether the table has it.

    `fmr_upper`: the 95 % upper bound of the FMR at the threshold; `method`: `observed`, or `extrapolated`
    beyond the scores that were seen; `set_by`: the group of people that asked for the threshold, or the
    installed version that set it. All three are null where the caller gave a threshold, or the pair has none.
    `version`: of the installed thresholds, if they set this one; `camera`: the camera whose own it is.
    """

    id: str
    pair: str
    calibrated: bool
    fmr_upper: float | None
    method: Literal["observed", "extrapolated"] | None
    set_by: str | None
    version: int | None = None
    camera: str | None = None

    @classmethod
    def of(cls, calibration_id: str, rule: Rule) -> CalibrationOut:
        point = rule.point
        return cls(
            id=calibration_id,
            pair=str(rule.pair),
            calibrated=rule.calibrated,
            fmr_upper=None if point is None else point.fmr_upper,
            method=None if point is None else point.method,
            set_by=None if point is None else point.set_by,
            version=None if rule.origin is None else rule.origin.version,
            camera=None if rule.origin is None else rule.origin.camera,
        )


class SearchOut(Wire):
    """`comparisons`: templates that the probe was compared with; `fpir`: the probability that a stranger
    matches somebody of them at the target FMR, null for a threshold of the caller's own."""

    comparisons: int
    fpir: float | None


class CandidateOut(Wire):
    """Accepted candidates come first. `threshold` and `pair` are those of the candidate's own reference;
    `threshold` and `margin` are null where its pair of conditions is not calibrated. `score`: relative to the
    bundle's cohort if it has one, else the cosine of the templates; thresholds are of the same kind.
    `cosine`: of the templates, whatever the score is relative to; null for a key that sees rounded scores."""

    rank: int
    subject_id: str
    score: float
    decision: Decision
    margin: float | None
    metadata: dict[str, Any]
    display_name: str | None = None
    threshold: float | None
    pair: str
    cosine: float | None = None

    @classmethod
    def of(cls, candidate: Candidate) -> CandidateOut:
        return cls(
            rank=candidate.rank,
            subject_id=candidate.subject_id,
            score=round(candidate.score, SCORE_DIGITS),
            decision=candidate.decision,
            margin=None if candidate.margin is None else round(candidate.margin, SCORE_DIGITS),
            metadata=dict(candidate.metadata),
            display_name=candidate.display_name,
            threshold=candidate.rule.threshold,
            pair=str(candidate.rule.pair),
            cosine=None if candidate.cosine is None else round(candidate.cosine, SCORE_DIGITS),
        )


class IdentifiedOut(SightingOut):
    """`threshold` and `calibration` are those of the first candidate; without any, those against clear
    visible references. `decision` is `uncalibrated` if nobody matches and the first candidate's pair of
    conditions has no threshold. `liveness`: none where nothing looked for a living face, and a printed photo
    passes; denied: nobody matches, whatever the scores."""

    decision: Decision
    threshold: float | None
    target_fmr: float | None
    calibration: CalibrationOut
    search: SearchOut
    candidates: list[CandidateOut]
    liveness: Liveness = "none"

    @classmethod
    def of(cls, found: Identified) -> IdentifiedOut:
        return cls(
            **sighting(found.description),
            decision=found.decision,
            threshold=found.rule.threshold,
            target_fmr=found.rule.target_fmr,
            calibration=CalibrationOut.of(found.calibration_id, found.rule),
            search=SearchOut(comparisons=found.comparisons, fpir=found.fpir),
            candidates=[CandidateOut.of(candidate) for candidate in found.candidates],
            liveness=found.description.liveness.state,
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
    """`faces_found` and `faces_below_score` are those of the probe, as `liveness` is: denied is no match.
    `score`: relative to the bundle's cohort if it has one, else the cosine of the templates; `threshold`
    is of the same kind. `cosine`: of the templates, whatever the score is relative to; null for a key that
    sees rounded scores."""

    space_id: str
    score: float
    threshold: float | None
    target_fmr: float | None
    decision: Literal["match", "non-match", "uncalibrated"]
    calibration: CalibrationOut
    probe: SightingOut
    reference: ReferenceOut
    timing_ms: dict[str, float]
    liveness: Liveness = "none"
    cosine: float | None = None

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
            threshold=verified.rule.threshold,
            target_fmr=verified.rule.target_fmr,
            decision=verified.decision,
            calibration=CalibrationOut.of(verified.calibration_id, verified.rule),
            probe=SightingOut(**sighting(verified.probe)),
            reference=ReferenceOut(
                subject_id=subject_id, **(sighting(other) | faces_found(other.among) if other else {})
            ),
            timing_ms=timing_ms,
            liveness=verified.probe.liveness.state,
            cosine=None
            if score_digits is not None or verified.cosine is None
            else round(verified.cosine, SCORE_DIGITS),
        )


class EmbeddedOut(SightingOut):
    """`cohort`: the id of what scores are relative to, and `taken`: what comes off the cosine of this
    template with one of each condition on the other side of a comparison; null and empty where scores are
    cosines."""

    embedding: list[float]
    cohort: str | None = None
    taken: dict[str, float] = {}

    @classmethod
    def embedded(cls, space: EmbeddingSpace, one: Description, role: Role) -> EmbeddedOut:
        vector = one.embedding.vector
        taken = space.taken(vector, role, one.condition)
        return cls(
            **sighting(one),
            embedding=vector.tolist(),
            cohort=space.cohort_id,
            taken={str(condition): value for condition, value in taken.items()},
        )


class EmbedOut(FacesFoundOut):
    space_id: str
    results: list[EmbeddedOut]


class DetectedOut(FaceOut):
    """`quality`: null if the face is too small to be aligned."""

    quality: QualityOut | None

    @classmethod
    def seen(cls, face: Face, quality: Quality | None) -> DetectedOut:
        measured = None if quality is None else QualityOut.of(quality)
        return cls(**FaceOut.of(face).model_dump(), quality=measured)


class DetectOut(FacesFoundOut):
    results: list[DetectedOut]
    spectrum: Spectrum
    image: tuple[int, int]
