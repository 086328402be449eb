"""The key of the tokens that stand for ids of subjects, and the ids themselves, sealed.

Ids that older releases wrote in clear become tokens at the start of the service
(`service.store.clear_ids`), which has the master key; a migration has none.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "id_keys",
        sa.Column("key_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("master_id", sa.String(length=16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("all_hidden", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_id_keys")),
    )
    # SQLite keeps the text of a table: made anew, it reads like one that had the column from the start.
    sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("subjects", recreate="always" if sqlite else "never") as altered:
        altered.add_column(sa.Column("sealed_id", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    """Leaves tokens in place of the ids, which open with the keys of this release alone."""
    with op.batch_alter_table("subjects") as altered:
        altered.drop_column("sealed_id")
    op.drop_table("id_keys")
