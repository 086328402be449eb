"""Jobs: attempts, what they occupy, the process that works on them, and their events.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nothing wrote a job before this revision, so there is none to carry over.
    op.drop_index("ix_jobs_state", table_name="jobs")
    op.drop_table("jobs")
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("progress", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("stage", sa.String(length=64), server_default=sa.text("''"), nullable=False),
        sa.Column("message", sa.String(length=2000), server_default=sa.text("''"), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("heartbeat_at", UtcDateTime(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempt_progress", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("slot", sa.String(length=128), nullable=True),
        sa.Column("sole", sa.String(length=32), nullable=True),
        sa.Column("process", sa.JSON(), nullable=True),
        sa.Column("event_seq", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_jobs_state")
        ),
        sa.CheckConstraint("progress >= 0 AND progress <= 1", name=op.f("ck_jobs_progress")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_state"), "jobs", ["state"], unique=False)
    for name, column, states in (
        ("uq_jobs_one_in_a_slot", "slot", "state IN ('running')"),
        ("uq_jobs_one_unfinished", "sole", "state IN ('queued', 'running')"),
    ):
        where = sa.text(states)
        op.create_index(name, "jobs", [column], unique=True, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("stage", sa.String(length=64), nullable=False),
        sa.Column("message", sa.String(length=2000), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.job_id"], name=op.f("fk_job_events_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("pk_job_events")),
    )


def downgrade() -> None:
    op.drop_table("job_events")
    for index in ("uq_jobs_one_unfinished", "uq_jobs_one_in_a_slot"):
        op.drop_index(index, table_name="jobs")
    with op.batch_alter_table("jobs") as table:
        for column in ("attempts", "attempt_progress", "slot", "sole", "process", "event_seq"):
            table.drop_column(column)
