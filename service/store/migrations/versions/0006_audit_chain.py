"""The audit log becomes a hash chain that names subjects by pseudonyms; the clock of retention.

Old entries keep their numbers. Those of erased subjects get a pseudonym whose secret is thrown away.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

from service.store.audit import SECRET_BYTES, pseudonym
from service.store.audit_chain import GENESIS, entry_digest
from service.store.columns import RowId, SubjectId, UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

OLD = sa.table(
    "audit_log",
    sa.column("audit_id", RowId),
    sa.column("at", UtcDateTime()),
    sa.column("actor", sa.String()),
    sa.column("action", sa.String()),
    sa.column("subject_id", sa.String()),
    sa.column("detail", sa.JSON()),
)


def upgrade() -> None:
    connection = op.get_bind()
    entries = connection.execute(sa.select(OLD).order_by(OLD.c.audit_id)).mappings().all()
    known = {row[0] for row in connection.execute(sa.text("SELECT subject_id FROM subjects"))}
    op.drop_table("audit_log")
    new = op.create_table(
        "audit_log",
        sa.Column("audit_id", RowId, autoincrement=True, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("prev", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audit_log")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_log_subject"), "audit_log", ["subject"], unique=False)
    named = op.create_table(
        "audit_subjects",
        sa.Column("subject_id", SubjectId, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["subject_id"],
            ["subjects.subject_id"],
            name=op.f("fk_audit_subjects_subject_id_subjects"),
            ondelete="CASCADE",
            onupdate="CASCADE",
        ),
        sa.PrimaryKeyConstraint("subject_id", name=op.f("pk_audit_subjects")),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("audit_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("public_key", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audit_checkpoints")),
    )
    op.create_table(
        "retention_clock",
        sa.Column("clock_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("doubted_since", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("clock_id", name=op.f("pk_retention_clock")),
    )
    subject_ids = {entry["subject_id"] for entry in entries if entry["subject_id"] is not None}
    made = {subject_id: secrets.token_bytes(SECRET_BYTES) for subject_id in sorted(known | subject_ids)}
    kept = [{"subject_id": subject_id, "secret": made[subject_id]} for subject_id in sorted(known)]
    if kept:
        connection.execute(named.insert(), kept)
    prev, rows = GENESIS, []
    for entry in entries:
        content = {name: entry[name] for name in ("audit_id", "at", "actor", "action", "detail")}
        subject_id = entry["subject_id"]
        content["subject"] = None if subject_id is None else pseudonym(made[subject_id])
        digest = entry_digest(prev, **content)
        rows.append(content | {"prev": prev, "digest": digest})
        prev = digest
    if rows:
        connection.execute(new.insert(), rows)


def downgrade() -> None:
    """Leaves the pseudonyms in place of the ids: the ids are gone."""
    op.drop_table("retention_clock")
    op.drop_table("audit_checkpoints")
    op.drop_table("audit_subjects")
    op.drop_index(op.f("ix_audit_log_subject"), table_name="audit_log")
    with op.batch_alter_table("audit_log", table_kwargs={"sqlite_autoincrement": True}) as table:
        for column in ("prev", "digest"):
            table.drop_column(column)
        table.alter_column("subject", new_column_name="subject_id", type_=sa.String(length=128))
