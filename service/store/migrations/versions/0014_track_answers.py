"""Answers about tracks of frames, by idempotency key.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import UtcDateTime

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "track_answers",
        sa.Column("event_id", sa.String(length=24), nullable=False),
        sa.Column("scope", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("camera", sa.String(length=64), nullable=True),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("subject_key_id", sa.String(length=32), nullable=True),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("master_id", sa.String(length=16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_track_answers")),
        sa.UniqueConstraint("scope", "key", name=op.f("uq_track_answers_scope_key")),
    )
    for column in ("subject_key_id", "master_id", "created_at"):
        op.create_index(op.f(f"ix_track_answers_{column}"), "track_answers", [column], unique=False)


def downgrade() -> None:
    op.drop_table("track_answers")
