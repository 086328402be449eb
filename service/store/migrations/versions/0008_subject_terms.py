"""Terms of subjects: legal hold, consent, an end, the last match.

Matches are known from here on: `retention_clock.matches_since` gets its time at the first pass of
retention, so that nobody is erased as unmatched for a time in which nothing was noted.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SUBJECT_ID = sa.String(length=128).with_variant(sa.String(length=128, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "subject_terms",
        sa.Column("subject_id", SUBJECT_ID, nullable=False),
        sa.Column("hold_since", UtcDateTime(), nullable=True),
        sa.Column("hold_by", sa.String(length=128), nullable=True),
        sa.Column("consent_on", sa.Date(), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("last_matched_at", UtcDateTime(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["subject_id"],
            ["subjects.subject_id"],
            name=op.f("fk_subject_terms_subject_id_subjects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("subject_id", name=op.f("pk_subject_terms")),
    )
    op.create_index(op.f("ix_subject_terms_expires_at"), "subject_terms", ["expires_at"], unique=False)
    # SQLite keeps the text of a table: made anew, it reads like one that had the column from the start.
    sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("retention_clock", recreate="always" if sqlite else "never") as altered:
        altered.add_column(sa.Column("matches_since", UtcDateTime(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("retention_clock") as altered:
        altered.drop_column("matches_since")
    op.drop_table("subject_terms")
