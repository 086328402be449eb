"""Defines the records that the store takes and returns: frozen, without database types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from faces.types import Condition, Spectrum

SpaceState = Literal["registered", "backfilling", "ready", "active", "retired"]


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    """`place`: where it stands in listings, which go on after it; says nothing of the id."""

    subject_id: str
    metadata: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    display_name: str | None
    sample_count: int
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectSelection:
    """What the database selects subjects by. `spectrum`, `masked`: of one and the same sample."""

    enrolled_since: datetime | None = None
    spectrum: Spectrum | None = None
    masked: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSample:
    """`digest`: SHA-256 of the uploaded bytes. Sizes in pixels of the upright source image."""

    subject_id: str
    digest: str
    spectrum: Spectrum
    masked: bool
    mask_probability: float
    quality_score: int
    inter_eye_px: float
    source_width: int
    source_height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRecord(NewSample):
    sample_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Erased:
    """Numbers of rows that an erasure deleted. `key_id`: the key of the subject that it shredded, if any."""

    samples: int
    templates: int
    crops: int
    key_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Moved:
    """What a merge did: samples that moved, and samples of photos that the other subject had already."""

    moved: int
    already_there: int


@dataclass(frozen=True, slots=True)
class Owner:
    """The subject and the sample of a template, and the condition that the sample was enrolled in."""

    subject_id: str
    sample_id: str
    metadata: Mapping[str, Any]
    display_name: str | None
    condition: Condition


@dataclass(frozen=True, slots=True, eq=False)
class OwnedTemplate:
    """A template of a subject. `vector`: float32 [d]."""

    owner: Owner
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LogEntry:
    """One entry of the gallery log. `vector`: float32 [d]; None for a removal or an erased template."""

    seq: int
    op: Literal["add", "remove"]
    template_id: int
    vector: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Every template of a space: `ids` int64 [n], `vectors` float32 [n, d].

    The log after `seq` leads from the snapshot to the present. The snapshot may hold some of that log
    already, so adding to a gallery replaces known ids.
    """

    seq: int
    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    space_id: str
    bundle: str
    dimension: int
    state: SpaceState
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewBundle:
    """`digest`: SHA-256 of the manifest file, hexadecimal. `metrics`: figures of the calibration."""

    space_id: str
    digest: str
    name: str
    version: str
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BundleRecord(NewBundle):
    registered_at: datetime


@dataclass(frozen=True, slots=True)
class EncodedCrop:
    """An aligned crop as PNG, in clear."""

    alignment: str
    png: bytes


@dataclass(frozen=True, slots=True)
class StoredCrop:
    """A kept crop with the facts that its sample holds. `png`: None if the crop does not open."""

    alignment: str
    sample_id: str
    spectrum: Spectrum
    inter_eye_px: float
    png: bytes | None


@dataclass(frozen=True, slots=True, eq=False)
class StoredTemplate:
    """A stored template. `vector`: float32 [d]."""

    template_id: int
    sample_id: str
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key without its secret. `digest`: SHA-256 of the secret, hexadecimal.

    `expires_at`: None if it does not expire. `last_used_at`: up to a minute behind; None if never.
    """

    key_id: str
    role: str
    label: str
    digest: str
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None = None
    permissions: tuple[str, ...] = ()
    last_used_at: datetime | None = None

    def active_at(self, moment: datetime) -> bool:
        """Returns whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or moment < self.expires_at)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the audit log. `subject`: a pseudonym. `prev`: the digest of the entry before."""

    audit_id: int
    at: datetime
    actor: str
    action: str
    subject: str | None
    detail: Mapping[str, Any]
    prev: str
    digest: str


@dataclass(frozen=True, slots=True)
class AuditedCandidate:
    """A subject of a candidate list, as the audit log gets it. Raises ValueError for a score of NaN."""

    subject_id: str
    score: float
    accepted: bool

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ValueError("a score is a finite number")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """Something that happened and changed no row: an identification, a read, a refusal.

    `matched`: subjects that a probe was accepted as.
    """

    at: datetime
    actor: str
    action: str
    subject_id: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    candidates: tuple[AuditedCandidate, ...] = ()
    matched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are wanted; None: any. `subject`: a pseudonym. Times: from `since`, before `until`."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditCheckpoint:
    """Says, with a signature, that the entries up to `audit_id` ended with `digest` and were removed."""

    audit_id: int
    digest: str
    made_at: datetime
    public_key: str
    signature: str


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer stored under an idempotency key."""

    request_digest: str
    status: int
    body: dict[str, Any]
