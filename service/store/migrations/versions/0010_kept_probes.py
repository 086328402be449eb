"""Crops of probes, kept for review for a few hours.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "kept_probes",
        sa.Column("event_id", sa.String(length=24), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("space_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("subject_key_id", sa.String(length=32), nullable=True),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("master_id", sa.String(length=16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("crop", sa.LargeBinary(), nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "state IN ('named', 'unknown', 'ignored', 'other')", name=op.f("ck_kept_probes_state")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_kept_probes")),
    )
    for column in ("at", "subject_key_id", "master_id"):
        op.create_index(op.f(f"ix_kept_probes_{column}"), "kept_probes", [column], unique=False)


def downgrade() -> None:
    op.drop_table("kept_probes")
