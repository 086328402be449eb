"""Defines the tables. SQL is the truth; every vector index is a cache that can be rebuilt from it."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from service.store.columns import RowId, SubjectId, UtcDateTime, metadata, one_of

STATES = ("registered", "backfilling", "ready", "active", "retired")
PROBE_STATES = ("named", "unknown", "ignored", "other")
JOB_STATES = ("queued", "running", "succeeded", "failed", "cancelled")

# In every table `subject_id` is the token of a subject: see `service.sealing.tokens`.
subjects = Table(
    "subjects",
    metadata,
    Column("subject_id", SubjectId, primary_key=True),
    # Empty: `sealed` holds metadata and display name. Older releases wrote them here in clear.
    Column("metadata", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("display_name", String(200)),
    Column("sealed", LargeBinary),
    # The id by which callers know the subject.
    Column("sealed_id", LargeBinary),
)

# What is stored about a subject opens with the key in this row only, and the row goes with the subject.
subject_keys = Table(
    "subject_keys",
    metadata,
    Column("subject_id", SubjectId, ForeignKey("subjects.subject_id", ondelete="CASCADE"), primary_key=True),
    Column("key_id", String(32), nullable=False),
    Column("master_id", String(16), nullable=False, index=True),
    Column("wrapped", LargeBinary, nullable=False),
)

# When the subject may, must not and must be erased. `sealed`: the texts of hold and consent.
subject_terms = Table(
    "subject_terms",
    metadata,
    Column("subject_id", SubjectId, ForeignKey("subjects.subject_id", ondelete="CASCADE"), primary_key=True),
    Column("hold_since", UtcDateTime),
    Column("hold_by", String(128)),
    Column("consent_on", Date),
    Column("expires_at", UtcDateTime, index=True),
    Column("last_matched_at", UtcDateTime),
    Column("sealed", LargeBinary),
)

# `key_id` is the check value of a master key, which itself lies elsewhere.
master_keys = Table(
    "master_keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("current", Boolean, nullable=False),
    Column("all_sealed", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# One row: the key that makes tokens of ids. `all_hidden`: no id of an older release is left in clear.
id_keys = Table(
    "id_keys",
    metadata,
    Column("key_id", Integer, primary_key=True, autoincrement=False),
    Column("master_id", String(16), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("all_hidden", Boolean, nullable=False),
)

samples = Table(
    "samples",
    metadata,
    Column("sample_id", String(36), primary_key=True),
    Column(
        "subject_id",
        SubjectId,
        ForeignKey("subjects.subject_id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("digest", String(64), nullable=False),
    Column("spectrum", String(3), nullable=False),
    Column("masked", Boolean, nullable=False),
    Column("mask_probability", Float, nullable=False),
    Column("quality_score", Integer, nullable=False),
    Column("inter_eye_px", Float, nullable=False),
    Column("source_width", Integer, nullable=False),
    Column("source_height", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint(one_of("spectrum", ("vis", "nir")), name="spectrum"),
)

spaces = Table(
    "spaces",
    metadata,
    Column("space_id", String(64), primary_key=True),
    Column("bundle", String(128), nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("next_seq", BigInteger, nullable=False, server_default=text("1")),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint(one_of("state", STATES), name="state"),
)
Index(
    "uq_spaces_one_active",
    spaces.c.state,
    unique=True,
    sqlite_where=spaces.c.state == "active",
    postgresql_where=spaces.c.state == "active",
)

templates = Table(
    "templates",
    metadata,
    Column("template_id", RowId, primary_key=True, autoincrement=True),
    Column(
        "sample_id",
        String(36),
        ForeignKey("samples.sample_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("space_id", String(64), ForeignKey("spaces.space_id"), nullable=False, index=True),
    Column("vector", LargeBinary, nullable=False),
    UniqueConstraint("sample_id", "space_id"),
    # The id of an erased template must never name another one: replicas may still hold it.
    sqlite_autoincrement=True,
)

gallery_log = Table(
    "gallery_log",
    metadata,
    Column("space_id", String(64), ForeignKey("spaces.space_id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("template_id", BigInteger, nullable=False),
    Column("op", String(6), nullable=False),
    CheckConstraint(one_of("op", ("add", "remove")), name="op"),
)

# What gallery snapshots open with: see `store.snapshot_keys`. `segment`: null for the key of a head.
snapshot_keys = Table(
    "snapshot_keys",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("space_id", String(64), ForeignKey("spaces.space_id"), nullable=False),
    Column("segment", BigInteger),
    Column("master_id", String(16), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("space_id", "segment"),
)

bundles = Table(
    "bundles",
    metadata,
    # The service uses the newest bundle of a space; a recalibration adds another one.
    Column("bundle_id", RowId, primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("space_id", String(64), ForeignKey("spaces.space_id"), nullable=False, index=True),
    Column("name", String(128), nullable=False),
    Column("version", String(128), nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("registered_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

# Thresholds that an administrator installed for a space. Numbers go over all spaces.
threshold_versions = Table(
    "threshold_versions",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("space_id", String(64), ForeignKey("spaces.space_id"), nullable=False, index=True),
    Column("document", JSON, nullable=False),
    Column("default_fmr", Float),
    Column("note", String(500), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# The version that a space decides by; a space without a row decides by its bundle's thresholds.
active_thresholds = Table(
    "active_thresholds",
    metadata,
    Column("space_id", String(64), ForeignKey("spaces.space_id"), primary_key=True),
    Column("version", Integer, ForeignKey("threshold_versions.version"), nullable=False),
)

backfills = Table(
    "backfills",
    metadata,
    Column("space_id", String(64), ForeignKey("spaces.space_id"), primary_key=True),
    Column("wanted", Boolean, nullable=False),
    Column("lease_owner", String(128)),
    Column("lease_until", UtcDateTime),
    Column("report", JSON, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

crops = Table(
    "crops",
    metadata,
    Column("sample_id", String(36), ForeignKey("samples.sample_id", ondelete="CASCADE"), primary_key=True),
    Column("alignment", String(32), primary_key=True),
    Column("key_id", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
)

# Crops of probes, for review: see `store.probes`. `subject_key_id` names a key, and no subject by its id.
kept_probes = Table(
    "kept_probes",
    metadata,
    Column("event_id", String(24), primary_key=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("space_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("subject_key_id", String(32), index=True),
    Column("key_id", String(32), nullable=False),
    Column("master_id", String(16), nullable=False, index=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("crop", LargeBinary, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    CheckConstraint(one_of("state", PROBE_STATES), name="state"),
)

# Decisions that a receiver has not confirmed: see `store.outbox`. One goes with its last delivery.
webhook_outbox = Table(
    "webhook_outbox",
    metadata,
    Column("event_id", String(24), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("subject_key_id", String(32), index=True),
    Column("key_id", String(32), nullable=False),
    Column("master_id", String(16), nullable=False, index=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

# What each receiver has still to get. `due_at`: null for one that is tried no more.
outbox_deliveries = Table(
    "outbox_deliveries",
    metadata,
    Column(
        "event_id", String(24), ForeignKey("webhook_outbox.event_id", ondelete="CASCADE"), primary_key=True
    ),
    Column("receiver", String(32), primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due_at", UtcDateTime),
    Column("last_error", String(200), nullable=False),
    Index("ix_outbox_deliveries_receiver_due_at", "receiver", "due_at"),
)

# Doors that may be switched and were. `live`: how; see `service.doors.rules.Door`.
door_modes = Table(
    "door_modes",
    metadata,
    Column("door", String(64), primary_key=True),
    Column("live", Boolean, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("request", JSON, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("progress", Float, nullable=False, server_default=text("0")),
    Column("stage", String(64), nullable=False, server_default=text("''")),
    Column("message", String(2000), nullable=False, server_default=text("''")),
    Column("metrics", JSON, nullable=False),
    Column("lease_owner", String(128)),
    Column("lease_until", UtcDateTime),
    Column("heartbeat_at", UtcDateTime),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("attempt_progress", Float, nullable=False, server_default=text("0")),
    Column("slot", String(128)),
    Column("sole", String(32)),
    Column("process", JSON(none_as_null=True)),
    Column("event_seq", Integer, nullable=False, server_default=text("0")),
    CheckConstraint(one_of("state", JOB_STATES), name="state"),
    CheckConstraint("progress >= 0 AND progress <= 1", name="progress"),
)
for _name, _column, _states in (
    ("uq_jobs_one_in_a_slot", "slot", ("running",)),
    ("uq_jobs_one_unfinished", "sole", ("queued", "running")),
):
    Index(
        _name,
        jobs.c[_column],
        unique=True,
        sqlite_where=text(one_of("state", _states)),
        postgresql_where=text(one_of("state", _states)),
    )

job_events = Table(
    "job_events",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("progress", Float, nullable=False),
    Column("stage", String(64), nullable=False),
    Column("message", String(2000), nullable=False),
    Column("metrics", JSON, nullable=False),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("audit_id", RowId, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    # A pseudonym, not an id: see `store.audit`.
    Column("subject", String(32), index=True),
    Column("detail", JSON, nullable=False),
    Column("prev", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    sqlite_autoincrement=True,
)

audit_subjects = Table(
    "audit_subjects",
    metadata,
    Column(
        "subject_id",
        SubjectId,
        ForeignKey("subjects.subject_id", ondelete="CASCADE", onupdate="CASCADE"),
        primary_key=True,
    ),
    Column("secret", LargeBinary, nullable=False),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("audit_id", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("public_key", String(64), nullable=False),
    Column("signature", String(128), nullable=False),
)

# One row: what retention knows of the time. See `service.retention`.
retention_clock = Table(
    "retention_clock",
    metadata,
    Column("clock_id", Integer, primary_key=True, autoincrement=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("doubted_since", UtcDateTime),
    # Since when last matches are noted.
    Column("matches_since", UtcDateTime),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("label", String(128), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("permissions", JSON, nullable=False, server_default=text("'[]'")),
    Column("last_used_at", UtcDateTime),
    CheckConstraint(one_of("role", ("probe", "operator", "admin")), name="role"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", String(128), primary_key=True),
    # A token of the key: callers may put the id of a subject into it.
    Column("key", String(200), primary_key=True),
    # Empty: it lies in `sealed` as well, since whoever guesses the id can compute it.
    Column("request_digest", String(64), nullable=False),
    Column("subject_id", String(128), nullable=False, index=True),
    Column("status", Integer, nullable=False),
    # Empty: `sealed` holds the answer. Older releases wrote it here in clear.
    Column("body", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("sealed", LargeBinary),
)

# Answers about tracks, each sealed under a key of its own, as an undelivered event is: see
# `store.track_answers`. `key`: a token of the idempotency key, or the event's id where none was sent.
track_answers = Table(
    "track_answers",
    metadata,
    Column("event_id", String(24), primary_key=True),
    Column("scope", String(128), nullable=False),
    Column("key", String(200), nullable=False),
    Column("camera", String(64)),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("subject_key_id", String(32), index=True),
    Column("key_id", String(32), nullable=False),
    Column("master_id", String(16), nullable=False, index=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    UniqueConstraint("scope", "key"),
)
