"""Several receivers of an event, each with a state of delivery of its own.

Events that wait already are for the one receiver of older releases, which is named `webhook`.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox_deliveries",
        sa.Column("event_id", sa.String(length=24), nullable=False),
        sa.Column("receiver", sa.String(length=32), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=True),
        sa.Column("last_error", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["webhook_outbox.event_id"],
            name=op.f("fk_outbox_deliveries_event_id_webhook_outbox"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("event_id", "receiver", name=op.f("pk_outbox_deliveries")),
    )
    op.create_index("ix_outbox_deliveries_receiver_due_at", "outbox_deliveries", ["receiver", "due_at"])
    op.execute(
        "INSERT INTO outbox_deliveries (event_id, receiver, attempts, due_at, last_error) "
        "SELECT event_id, 'webhook', attempts, due_at, last_error FROM webhook_outbox"
    )
    op.drop_index(op.f("ix_webhook_outbox_due_at"), "webhook_outbox")
    sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("webhook_outbox", recreate="always" if sqlite else "never") as altered:
        for column in ("attempts", "due_at", "last_error"):
            altered.drop_column(column)


def downgrade() -> None:
    """Keeps what waits for the receiver `webhook`; events for others alone go."""
    op.execute(
        "DELETE FROM webhook_outbox WHERE NOT EXISTS (SELECT 1 FROM outbox_deliveries AS one "
        "WHERE one.event_id = webhook_outbox.event_id AND one.receiver = 'webhook')"
    )
    with op.batch_alter_table("webhook_outbox") as altered:
        altered.add_column(sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
        altered.add_column(sa.Column("due_at", UtcDateTime(), nullable=True))
        altered.add_column(sa.Column("last_error", sa.String(length=200), nullable=False, server_default=""))
    op.execute(
        "UPDATE webhook_outbox SET (attempts, due_at, last_error) = (SELECT one.attempts, one.due_at, "
        "one.last_error FROM outbox_deliveries AS one WHERE one.event_id = webhook_outbox.event_id "
        "AND one.receiver = 'webhook')"
    )
    op.create_index(op.f("ix_webhook_outbox_due_at"), "webhook_outbox", ["due_at"])
    op.drop_table("outbox_deliveries")
