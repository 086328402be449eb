"""Implements `halflight gallery`: what the database keeps for `HALFLIGHT_GALLERY=pgvector`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from service.cli.configuration import settings_from
from service.cli.keys import with_database
from service.cli.options import DatabaseUrl, DataDir
from service.cli.output import GOOD, print_status

if TYPE_CHECKING:
    from service.store.database import Database

app = typer.Typer(name="gallery", no_args_is_help=True, help="Look after the gallery that PostgreSQL keeps.")


@app.callback()
def _group() -> None:
    """Look after the gallery that PostgreSQL keeps (HALFLIGHT_GALLERY=pgvector)."""


@app.command()
def erase(data: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Erase all search vectors, so that services may start with the embedded gallery; templates stay.

    Stop the services that run with HALFLIGHT_GALLERY=pgvector before: they fail without the vectors. The
    next one that starts so makes them again.
    """

    async def work(db: Database) -> None:
        async with db.write() as uow:
            await uow.search.erase_all()
            await uow.commit()

    with_database(settings_from(data_dir=data, database_url=database_url), work)
    print_status("the database holds no search vectors", GOOD)
