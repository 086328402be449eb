"""Keys of gallery snapshots, which an erasure deletes.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "snapshot_keys",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("space_id", sa.String(length=64), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=True),
        sa.Column("master_id", sa.String(length=16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["space_id"], ["spaces.space_id"], name=op.f("fk_snapshot_keys_space_id_spaces")
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_snapshot_keys")),
        sa.UniqueConstraint("space_id", "segment", name=op.f("uq_snapshot_keys_space_id_segment")),
    )


def downgrade() -> None:
    op.drop_table("snapshot_keys")
