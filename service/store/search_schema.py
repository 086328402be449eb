"""The table of search vectors, which lies in PostgreSQL and needs its extension pgvector.

It is no part of the schema that migrations make: only `HALFLIGHT_GALLERY=pgvector` makes it, and it can be
filled again from the sealed templates at any time. A row goes with its template, whoever deletes that.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.settings import Settings
from service.store.errors import StoreError

GalleryKind = Literal["embedded", "pgvector", "milvus"]
IndexKind = Literal["hnsw", "exact"]
TABLE = "search_vectors"
# The first version whose HNSW scans go on until they have enough rows.
OLDEST = (0, 8)
# An HNSW scan looks at no more candidates than this.
MOST_CANDIDATES = 1000


class GalleryRefused(StoreError):
    """The gallery of the settings cannot be had from this database, or is another than it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryOptions:
    """`candidates`: templates that an HNSW search scores exactly, at least (its `ef_search`).

    `milvus_uri`, `milvus_token`: where Milvus is, and what it lets us in by.
    """

    kind: GalleryKind = "embedded"
    index: IndexKind = "hnsw"
    candidates: int = 200
    milvus_uri: str | None = None
    milvus_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.candidates <= MOST_CANDIDATES:
            raise ValueError(f"an HNSW search takes 1 to {MOST_CANDIDATES} candidates")

    @classmethod
    def of(cls, settings: Settings) -> GalleryOptions:
        """Reads the options from the settings of the service."""
        token = settings.milvus_token
        return cls(
            kind=settings.gallery,
            index=settings.gallery_index,
            candidates=settings.gallery_candidates,
            milvus_uri=settings.milvus_uri,
            milvus_token=None if token is None else token.get_secret_value(),
        )


def index_name(space_id: str) -> str:
    """The HNSW index of one space."""
    return f"search_hnsw_{hashlib.sha256(space_id.encode()).hexdigest()[:16]}"


async def has_table(connection: AsyncConnection) -> bool:
    """Whether templates of this database have search vectors."""
    if connection.dialect.name != "postgresql":
        return False
    return (await connection.execute(text(f"SELECT to_regclass('{TABLE}')"))).scalar_one() is not None


async def create_table(connection: AsyncConnection) -> None:
    """Makes the extension and the table, unless they are there. The caller holds the migrations' lock.

    Raises GalleryRefused.
    """
    if connection.dialect.name != "postgresql":
        raise GalleryRefused(
            "HALFLIGHT_GALLERY=pgvector needs PostgreSQL, and HALFLIGHT_DATABASE_URL names another database"
        )
    await _make_extension(connection)
    # Statistics of a column hold values of it, so none are gathered.
    for statement in (
        f"CREATE TABLE IF NOT EXISTS {TABLE} (template_id BIGINT PRIMARY KEY"
        " REFERENCES templates (template_id) ON DELETE CASCADE,"
        " space_id VARCHAR(64) NOT NULL, vector HALFVEC NOT NULL)",
        f"ALTER TABLE {TABLE} ALTER COLUMN vector SET STATISTICS 0",
    ):
        await connection.execute(text(statement))


async def drop_table(connection: AsyncConnection) -> None:
    """Erases every search vector; the files go with the commit."""
    await connection.execute(text(f"DROP TABLE IF EXISTS {TABLE}"))


async def _make_extension(connection: AsyncConnection) -> None:
    query = text(
        "SELECT a.default_version, e.extversion FROM pg_available_extensions a"
        " LEFT JOIN pg_extension e ON e.extname = a.name WHERE a.name = 'vector'"
    )
    row = (await connection.execute(query)).first()
    if row is None:
        raise GalleryRefused(
            "HALFLIGHT_GALLERY=pgvector needs PostgreSQL's extension pgvector, which this server does not"
            " have: install it there, or leave HALFLIGHT_GALLERY out"
        )
    offered, installed = row
    if version_of(installed or offered) < OLDEST:
        raise GalleryRefused(
            f"HALFLIGHT_GALLERY=pgvector needs pgvector {OLDEST[0]}.{OLDEST[1]} or newer, and the database"
            f" has {installed or offered}: install a newer one, then ALTER EXTENSION vector UPDATE"
        )
    if installed is None:
        try:
            await connection.execute(text("CREATE EXTENSION vector"))
        except SQLAlchemyError as error:
            raise GalleryRefused(
                "HALFLIGHT_GALLERY=pgvector needs the extension pgvector, which the role of"
                " HALFLIGHT_DATABASE_URL may not make: let an owner of the database run CREATE EXTENSION"
                " vector"
            ) from error


def version_of(written: str) -> tuple[int, ...]:
    """The numbers of a version such as `0.8.5`."""
    return tuple(int(number) for number in re.findall(r"\d+", written)[:2])


def make_index(connection: Connection, space_id: str, dimension: int) -> None:
    """Makes the HNSW index of a space while others read and write. Runs outside of a transaction.

    An index that an interrupted run left is made anew.
    """
    name = index_name(space_id)
    query = text(
        "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE c.oid = to_regclass(:name)"
    )
    valid = connection.execute(query, {"name": name}).scalar_one_or_none()
    if valid:
        return
    if valid is not None:
        drop_index(connection, space_id)
    literal = "'" + space_id.replace("'", "''") + "'"
    connection.exec_driver_sql(
        f"CREATE INDEX CONCURRENTLY {name} ON {TABLE} USING hnsw"
        f" ((vector::halfvec({dimension})) halfvec_ip_ops) WHERE space_id = {literal}"
    )


def drop_index(connection: Connection, space_id: str) -> None:
    """Erases the HNSW index of a space. Runs outside of a transaction."""
    connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {index_name(space_id)}")
