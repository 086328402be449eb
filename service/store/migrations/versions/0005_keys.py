"""Keys that expire, that hold permissions beside their role, and that say when they were last used.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("api_keys") as table:
        table.add_column(sa.Column("expires_at", UtcDateTime(), nullable=True))
        table.add_column(sa.Column("permissions", sa.JSON(), server_default=sa.text("'[]'"), nullable=False))
        table.add_column(sa.Column("last_used_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("api_keys") as table:
        for column in ("last_used_at", "permissions", "expires_at"):
            table.drop_column(column)
