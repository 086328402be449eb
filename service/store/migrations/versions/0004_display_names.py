"""Display names of subjects.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite keeps the text of a table: made anew, it reads like one that had the column from the start.
    sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("subjects", recreate="always" if sqlite else "never") as table:
        table.add_column(sa.Column("display_name", sa.String(length=200), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("subjects") as table:
        table.drop_column("display_name")
