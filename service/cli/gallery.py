"""Implements `halflight gallery`: what PostgreSQL or Milvus keeps for searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from service.cli.configuration import settings_from
from service.cli.keys import with_database
from service.cli.options import DatabaseUrl, DataDir
from service.cli.output import GOOD, print_status

if TYPE_CHECKING:
    from service.store.database import Database

app = typer.Typer(
    name="gallery", no_args_is_help=True, help="Look after the gallery that PostgreSQL or Milvus keeps."
)


@app.callback()
def _group() -> None:
    """Look after the gallery that PostgreSQL or Milvus keeps (HALFLIGHT_GALLERY=pgvector, milvus)."""


@app.command()
def erase(data: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Erase all search vectors, so that services may start with the embedded gallery; templates stay.

    Stop the services that run with HALFLIGHT_GALLERY=pgvector or milvus before: they fail without the
    vectors. The next one that starts so makes them again. With HALFLIGHT_MILVUS_URI those in Milvus go too.
    """
    settings = settings_from(data_dir=data, database_url=database_url)

    async def work(db: Database) -> None:
        async with db.write() as uow:
            await uow.search.erase_all()
            await uow.commit()
        if settings.milvus_uri is not None:
            from service.store.search_schema import GalleryOptions

            await db.use_milvus(GalleryOptions.of(settings))
            await db.erase_outside()

    # The names of collections come from the database's key.
    with_database(settings, work, sealed=settings.milvus_uri is not None)
    print_status("no search vectors are kept any more", GOOD)
