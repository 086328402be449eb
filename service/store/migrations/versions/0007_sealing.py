"""Keys of subjects, the master keys they lie under, and sealed descriptions and answers.

What older releases wrote in clear is sealed at the start of the service (`service.store.clear_rows`),
which has the master key; a migration has none.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SUBJECT_ID = sa.String(length=128).with_variant(sa.String(length=128, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "master_keys",
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("all_sealed", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_master_keys")),
    )
    op.create_table(
        "subject_keys",
        sa.Column("subject_id", SUBJECT_ID, nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("master_id", sa.String(length=16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["subject_id"],
            ["subjects.subject_id"],
            name=op.f("fk_subject_keys_subject_id_subjects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("subject_id", name=op.f("pk_subject_keys")),
    )
    op.create_index(op.f("ix_subject_keys_master_id"), "subject_keys", ["master_id"], unique=False)
    # SQLite keeps the text of a table: made anew, it reads like one that had the column from the start.
    sqlite = op.get_bind().dialect.name == "sqlite"
    for name in ("subjects", "idempotency"):
        with op.batch_alter_table(name, recreate="always" if sqlite else "never") as altered:
            altered.add_column(sa.Column("sealed", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    for name in ("idempotency", "subjects"):
        with op.batch_alter_table(name) as altered:
            altered.drop_column("sealed")
    for name in ("subject_keys", "master_keys"):
        op.drop_table(name)
