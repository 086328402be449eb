"""Runs Alembic inside the service, on the connection that `Database.migrate` passes."""

from __future__ import annotations

from alembic import context

from service.store.columns import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("migrations run through Database.migrate: start the service, or `halflight keys list`")
context.configure(
    connection=connection, target_metadata=metadata, transactional_ddl=True, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
