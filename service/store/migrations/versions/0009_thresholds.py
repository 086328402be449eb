"""Thresholds that an administrator installs for a space, and the version in force.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "threshold_versions",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("space_id", sa.String(length=64), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("default_fmr", sa.Float(), nullable=True),
        sa.Column("note", sa.String(length=500), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["space_id"], ["spaces.space_id"], name=op.f("fk_threshold_versions_space_id_spaces")
        ),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_threshold_versions")),
    )
    op.create_index(op.f("ix_threshold_versions_space_id"), "threshold_versions", ["space_id"], unique=False)
    op.create_table(
        "active_thresholds",
        sa.Column("space_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["space_id"], ["spaces.space_id"], name=op.f("fk_active_thresholds_space_id_spaces")
        ),
        sa.ForeignKeyConstraint(
            ["version"],
            ["threshold_versions.version"],
            name=op.f("fk_active_thresholds_version_threshold_versions"),
        ),
        sa.PrimaryKeyConstraint("space_id", name=op.f("pk_active_thresholds")),
    )


def downgrade() -> None:
    op.drop_table("active_thresholds")
    op.drop_index(op.f("ix_threshold_versions_space_id"), table_name="threshold_versions")
    op.drop_table("threshold_versions")
