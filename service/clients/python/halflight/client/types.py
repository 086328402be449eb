"""What the service answers, as frozen types. Fields that a later service adds are kept in `model_extra`.

Values such as `decision` and `state` are texts, since a later service may know more of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)


class Face(Answer):
    """`box`: x, y, width, height, and five `landmarks`, in pixels of the image as its EXIF turns it."""

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    detection_score: float
    rotation: int = 0
    subject_probability: float | None = None


class Pose(Answer):
    """Rough angles in degrees."""

    yaw: float
    roll: float


class Quality(Answer):
    """`score`: 0 to 100. `reasons`: what keeps it down."""

    score: int
    reasons: tuple[str, ...]
    inter_eye_px: float
    sharpness: float
    exposure: float
    pose: Pose


class Condition(Answer):
    """`spectrum`: `nir` or `vis`. `masked` is the likelier of the two where `mask_state` is uncertain."""

    spectrum: str
    masked: bool
    mask_state: str
    mask_probability: float


class Sighting(Answer):
    """A face with its condition and quality."""

    face: Face
    condition: Condition
    quality: Quality


class Calibration(Answer):
    """Where a threshold comes from. `fmr_upper`: the 95 % upper bound of the FMR at the threshold.

    `pair`: the conditions of reference and probe, such as `vis-unmasked/nir-masked`. `version` and `camera`:
    the installed thresholds that set this one, and whose own they are.
    """

    id: str
    pair: str
    calibrated: bool
    fmr_upper: float | None
    method: str | None
    set_by: str | None
    version: int | None = None
    camera: str | None = None


class Search(Answer):
    """`comparisons`: templates compared with. `fpir`: the chance that a stranger matches any of them."""

    comparisons: int
    fpir: float | None


class Candidate(Answer):
    """A subject that the probe may show. `margin`: score above the threshold.

    `cosine`: of the templates; None for a key that sees rounded scores.
    """

    rank: int
    subject_id: str
    score: float
    decision: str
    margin: float | None
    metadata: dict[str, Any]
    display_name: str | None = None
    threshold: float | None
    pair: str
    cosine: float | None = None

    @property
    def matched(self) -> bool:
        return self.decision == "match"


class Identified(Sighting):
    """One face of a probe. `decision`: `match`, `unknown`, or `uncalibrated` without any threshold for it."""

    decision: str
    threshold: float | None
    target_fmr: float | None
    calibration: Calibration
    search: Search
    candidates: tuple[Candidate, ...]
    liveness: str = "none"

    @property
    def match(self) -> Candidate | None:
        """The best candidate if it is accepted; None for an unknown face."""
        return self.candidates[0] if self.candidates and self.candidates[0].matched else None


class Identification(Answer):
    """Each face of the probe that was asked about, the largest first."""

    space_id: str
    faces_found: int
    faces_below_score: int
    results: tuple[Identified, ...]
    timing_ms: dict[str, float]

    @property
    def best(self) -> Candidate | None:
        """The accepted candidate of the first face; None if it is unknown."""
        return self.results[0].match if self.results else None


class Votes(Answer):
    """`agree` of `of` usable frames say what the decision says; `needed` had to."""

    agree: int
    of: int
    needed: int


class TrackSubject(Answer):
    subject_id: str
    display_name: str | None
    metadata: dict[str, Any]
    score: float
    margin: float | None


class TrackFrame(Answer):
    """`usable`: it could vote; `agrees`: it voted for the matched subject; `code`: why no face was found."""

    index: int
    usable: bool
    agrees: bool
    code: str | None
    detail: str | None
    face: Face | None
    condition: Condition | None
    quality: Quality | None


class TrackDecision(Answer):
    """Who a track shows. `decision`: `match`, `unknown`, or `undecided` if too few frames agree.

    `event_id`: None if no event was made; `repeat`: since the subject was seen there a moment before.
    """

    space_id: str
    track: str
    seen_at: datetime
    event_id: str | None
    final: bool
    repeat: bool
    decision: str
    votes: Votes
    subject: TrackSubject | None
    shown: int | None
    threshold: float | None
    target_fmr: float | None
    calibration: Calibration | None
    search: Search | None
    frames: tuple[TrackFrame, ...]
    timing_ms: dict[str, float]
    liveness: str = "none"


class Reference(Answer):
    """The other side of a verification: a subject, or the face of a reference image."""

    subject_id: str | None = None
    face: Face | None = None
    condition: Condition | None = None
    quality: Quality | None = None
    faces_found: int | None = None
    faces_below_score: int | None = None


class Verification(Answer):
    """`decision`: `match`, `non-match`, or `uncalibrated` without a threshold for these conditions."""

    space_id: str
    faces_found: int
    faces_below_score: int
    score: float
    threshold: float | None
    target_fmr: float | None
    decision: str
    calibration: Calibration
    probe: Sighting
    reference: Reference
    timing_ms: dict[str, float]
    liveness: str = "none"
    cosine: float | None = None

    @property
    def matched(self) -> bool:
        return self.decision == "match"


class Detection(Face):
    """`quality`: None if the face is too small to be aligned."""

    quality: Quality | None


class Detections(Answer):
    """Every face, the largest first. `image`: width and height in pixels."""

    faces_found: int
    faces_below_score: int
    results: tuple[Detection, ...]
    spectrum: str
    image: tuple[int, int]


class Embedding(Sighting):
    """`embedding`: the template, a unit vector of the space.

    `cohort`: the id of what scores are relative to, and `taken`: what comes off the cosine of this template
    with one of each condition on the other side of a comparison; None and empty where scores are cosines.
    """

    embedding: tuple[float, ...]
    cohort: str | None = None
    taken: dict[str, float] = {}

    def __repr__(self) -> str:
        # A template is biometric data, and a repr ends in logs.
        return f"{type(self).__name__}(face={self.face!r}, embedding=<{len(self.embedding)} numbers>)"

    __str__ = __repr__


class Embeddings(Answer):
    space_id: str
    faces_found: int
    faces_below_score: int
    results: tuple[Embedding, ...]


class EnrolledSample(Answer):
    """`existing`: the subject had a sample of the same bytes, and nothing was added."""

    sample_id: str
    template_id: int
    face: Face
    quality: Quality
    faces_found: int
    faces_below_score: int
    existing: bool = False


class Rejected(Answer):
    """A photo that was not enrolled, and why. `index` counts the photos of the request from 0."""

    index: int
    code: str
    detail: str


class Duplicate(Answer):
    """Another subject that the photo `index` matches, with `duplicates="report"`."""

    index: int
    subject_id: str
    score: float


class EnrolmentWarning(Answer):
    """What to know of a sample that was stored all the same."""

    sample_id: str
    code: str
    detail: str


class Enrolment(Answer):
    """At least one photo was enrolled; `rejected` has the others."""

    subject_id: str
    space_id: str
    samples: tuple[EnrolledSample, ...]
    rejected: tuple[Rejected, ...]
    duplicates: tuple[Duplicate, ...] = ()
    warnings: tuple[EnrolmentWarning, ...] = ()


class Subject(Answer):
    """`samples`: how many the subject has."""

    subject_id: str
    display_name: str | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    samples: int


class Sample(Answer):
    sample_id: str
    spectrum: str
    masked: bool
    quality_score: int
    inter_eye_px: float
    created_at: datetime


class Hold(Answer):
    since: datetime
    by: str
    reason: str | None


class SubjectDetail(Answer):
    """A subject with its samples and the terms under which it is kept. `hold`: nothing of it is erased."""

    subject_id: str
    display_name: str | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    samples: tuple[Sample, ...]
    hold: Hold | None
    consent: dict[str, Any] | None
    expires_at: datetime | None
    last_matched_at: datetime | None


class SubjectPage(Answer):
    subjects: tuple[Subject, ...]
    next_cursor: str | None


class Erased(Answer):
    samples: int
    templates: int
    crops: int


class Receipt(Answer):
    """What was erased; `audit_id` names the audit entry, `shredded` the keys that are gone with it."""

    erased: Erased
    shredded: tuple[str, ...]
    audit_id: int


class SubjectReceipt(Receipt):
    subject_id: str


class ErasedMany(Answer):
    """A receipt for each subject that was enrolled; the ids of those who were not."""

    receipts: tuple[SubjectReceipt, ...]
    not_found: tuple[str, ...]


class Merged(Answer):
    subject_id: str
    merged: str
    moved: int
    already_there: int
    samples: int


class Submitted(Answer):
    job_id: str


class Job(Answer):
    """A job of the service. `progress`: 0 to 1. `metrics`: of a bulk enrolment, how many files were enrolled,
    were there (`existing`), were refused and why (`by_code`)."""

    job_id: str
    kind: str
    state: str
    progress: float
    stage: str
    message: str
    metrics: dict[str, Any]
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    @property
    def succeeded(self) -> bool:
        return self.state == "succeeded"


class ReportRow(Answer):
    """What became of one file of a bulk enrolment; a file with several conflicts has a row for each.

    `file`: its path in the archive; of `enrol_many` it is `photos/N` for the N-th photo, from 0. `result`:
    `enrolled`, `existing` or `refused`, then with `code` and `reason`. `conflict`: one face under two
    subjects, or two faces under one; `other_subject` and `score` say which.
    """

    file: str
    subject: str
    result: str
    code: str | None
    reason: str | None
    conflict: str | None
    other_subject: str | None
    score: float | None
    sha256: str | None


class SeenSubject(Answer):
    subject_id: str
    display_name: str | None


class SeenTrack(Answer):
    """`id`: the caller's name of the track; its votes, as `Votes` has them."""

    id: str
    seen_at: datetime
    agree: int
    of: int
    needed: int


class Decision(Answer):
    """One decision of the service about one face, as it was made.

    `subject`: who matched, or whom a verification asked about. `place`: `events(after=place)` goes on behind
    it. `key_id`: the key that asked. `liveness`: `none` where nothing looked for a living face.
    """

    event_id: str
    at: datetime
    action: str
    decision: str
    subject: SeenSubject | None
    score: float | None
    threshold: float | None
    target_fmr: float | None
    calibration: Calibration
    search: Search | None
    condition: Condition
    quality: Quality
    camera: str | None
    space_id: str
    key_id: str
    crop: bool
    track: SeenTrack | None = None
    liveness: str = "none"
    place: str = ""

    @property
    def matched(self) -> bool:
        return self.decision == "match"


class Missed(Answer):
    """Decisions that this reader did not get: it was too slow, or away for too long. `count`: None where the
    service cannot know, since it was started again."""

    count: int | None
    place: str = ""


class StreamEnd(Answer):
    reason: str


class Readiness(Answer):
    """Whether the service can match. `status`: `ready` or `not_ready`; `detail`: why not."""

    status: str
    detail: str | None = None

    @property
    def ready(self) -> bool:
        return self.status == "ready"


class Whoami(Answer):
    """What the client's own key may do. `open_access`: nobody needs a key."""

    key_id: str
    role: str
    label: str
    permissions: tuple[str, ...]
    open_access: bool


class SourceReport(Answer):
    """One camera of a watcher, counted since it was started.

    `state`: `starting`, `watching`, `waiting`, `ended` or `failed`; `trouble`: why it waits. `decisions`:
    answers about tracks, by decision; `last_decision`: the latest, without its subject.
    """

    name: str
    state: str
    frames: int = 0
    still: int = 0
    looked_at: int = 0
    faces: int = 0
    tracks: int = 0
    short: int = 0
    reconnects: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    decisions: dict[str, int] = Field(default_factory=dict)
    last_frame: datetime | None = None
    last_decision: str | None = None
    last_decided: datetime | None = None
    trouble: str | None = None


class WatcherReport(Answer):
    """`waiting`: tracks in its spool; `lost`: by a full or spoilt spool; `refused`: by the service."""

    waiting: int = 0
    lost: int = 0
    refused: int = 0
    sources: tuple[SourceReport, ...]


class Watcher(Answer):
    """What a watcher said of itself `heard_s_ago` seconds before the service answered."""

    watcher: str
    key_id: str
    heard_at: datetime
    heard_s_ago: float
    report: WatcherReport


class Watchers(Answer):
    watchers: tuple[Watcher, ...]


class DoorCheck(Answer):
    """One condition of a rule, and what was found. `said`: in words."""

    check: str
    met: bool
    said: str


class DoorRuleCheck(Answer):
    """`holds`: every condition is met; for a deny rule: may be."""

    name: str
    effect: str
    holds: bool
    conditions: tuple[DoorCheck, ...]


class DoorRule(Answer):
    name: str
    effect: str


class DoorOutcome(Answer):
    """What a door did, or would have done. `liveness`: `none` where nothing looked for a living face, which a
    printed photo then passes as well. `rules`: each rule as it was found; none where no rule was asked."""

    event_id: str
    at: datetime
    door: str
    outcome: str
    reason: str
    rule: str | None
    subject: SeenSubject | None
    camera: str
    decision_id: str
    dry_run: bool
    liveness: str
    rules: tuple[DoorRuleCheck, ...] = ()


class Door(Answer):
    """`state`: of the output, `dry_run` where it is not connected. `liveness`: what the rules ask for.
    `last`: newest first."""

    name: str
    dry_run: bool
    switchable: bool = False
    cameras: tuple[str, ...]
    output: str
    state: str
    liveness: str
    rules: tuple[DoorRule, ...]
    last: tuple[DoorOutcome, ...]


class Doors(Answer):
    """`on`: whether the service has a file of doors."""

    on: bool
    doors: tuple[Door, ...]


class DoorTest(Answer):
    """What the rules of a door say of somebody; nothing was opened."""

    door: str
    would_open: bool
    rule: str | None
    reason: str
    rules: tuple[DoorRuleCheck, ...]


class Receiver(Answer):
    """A receiver of events. `kind`: None for one that is set no more. `waiting`, `dead`: events that it has
    not confirmed. The times are those of attempts since the service was started."""

    name: str
    kind: str | None
    waiting: int
    dead: int
    last_delivered_at: datetime | None = None
    last_failed_at: datetime | None = None
    last_error: str | None = None


class DeadLetter(Answer):
    """An event that a receiver is sent no more."""

    event_id: str
    receiver: str
    at: datetime
    attempts: int
    last_error: str


class Receivers(Answer):
    """`dead_letters`: the oldest hundred."""

    on: bool
    waiting: int
    dead: int
    receivers: tuple[Receiver, ...]
    dead_letters: tuple[DeadLetter, ...]


class Redelivered(Answer):
    replayed: int
