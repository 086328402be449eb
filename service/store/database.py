"""Opens the database and runs transactions and migrations: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.sealing.sources import MasterKeys
from service.store.errors import StoreBusy, StoreError, StoreFull, StoreReadOnly
from service.store.locks import advisory_lock
from service.store.milvus_index import MilvusIndex
from service.store.refused import RefusedRows
from service.store.reserve import DiskReserve
from service.store.revisions import current_revision, newest_revision
from service.store.search_index import SearchIndex
from service.store.search_schema import TABLE as SEARCH_TABLE
from service.store.search_schema import GalleryOptions, GalleryRefused, create_table, has_table
from service.store.subject_keys import SubjectKeys, Unsealed
from service.store.template_reader import TemplateReader
from service.store.tidying import forget_deleted, rewrite
from service.store.unit import UnitOfWork
from service.store.vacuum import Vacuum

BUSY_MS = 15_000
# How long a writer waits for its turn, in the queue of this process and for other processes together.
WRITE_WAIT_S = 10.0
# Of the 15 connections of the pool this many may write, so that waiting writers leave room for readers.
POSTGRES_WRITERS = 8
WAL_BUSY_MS = (10, 100)
# Any number that no other advisory lock in this database uses.
MIGRATION_LOCK = 0x48A1F
# SQLSTATEs of PostgreSQL (appendix A of its manual): disk_full; read_only_sql_transaction;
# lock_not_available.
POSTGRES_FULL, POSTGRES_READ_ONLY, POSTGRES_BUSY = ("53100",), ("25006",), ("55P03",)
# Tables that held clear values in older releases.
REWRITTEN = (
    "subjects",
    "subject_keys",
    "samples",
    "templates",
    "crops",
    "idempotency",
    "audit_subjects",
    "subject_terms",
    "kept_probes",
)
WRITE, MIGRATE, WAIT_MS = "halflight_write", "halflight_migrate", "halflight_wait_ms"


class Database:
    """One connection pool. `write` and `read` open a unit of work, which stores nothing without `commit`."""

    def __init__(self, engine: AsyncEngine, masters: MasterKeys | None = None) -> None:
        self._engine, self.masters = engine, masters
        self.refused = RefusedRows()
        self._unsealed = Unsealed(masters, self.refused)
        self.dialect = engine.dialect.name
        # SQLite has one writer at a time. Waiting here is fairer than polling the file lock: first come,
        # first served, and nobody's time begins when another's ends.
        self._writers = asyncio.Semaphore(1 if self.dialect == "sqlite" else POSTGRES_WRITERS)
        # SQLite lies on this machine's disk, which others fill; a server keeps its own.
        place = engine.url.database
        self.file = Path(place) if self.dialect == "sqlite" and place else None
        self._reserve = DiskReserve(self.file.parent) if self.file is not None else None
        self._reserve_kept = self._journal_kept = False
        # Called with the ids of keys that a commit erased: backups must forget them too.
        self.on_shredded: Callable[[Sequence[str]], None] | None = None
        self.write_trouble: StoreFull | StoreReadOnly | StoreBusy | None = None
        # Where `HALFLIGHT_GALLERY=pgvector` searches.
        self.search: SearchIndex | None = None
        # Where `HALFLIGHT_GALLERY=milvus` searches, and what opens the templates that it names.
        self.milvus: MilvusIndex | None = None
        self.reader: TemplateReader | None = None
        self._vacuum = Vacuum(engine)

    @classmethod
    async def open(cls, url: str, masters: MasterKeys | None = None) -> Self:
        """Opens the pool and tries a connection. Raises StoreError if either fails.

        Without `masters` nothing that is sealed can be read or written.
        """
        try:
            sqlite = url.startswith("sqlite")
            wait = {} if sqlite else {"options": f"-c lock_timeout={round(WRITE_WAIT_S * 1000)}"}
            engine = create_async_engine(url, pool_pre_ping=not sqlite, connect_args=wait)
        except (SQLAlchemyError, ImportError) as error:
            raise StoreError("the database URL is wrong, or its driver is not installed") from error
        if engine.dialect.name == "sqlite":
            event.listen(engine.sync_engine, "connect", _set_up_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
        db = cls(engine, masters)
        try:
            await db.ping()
            await db._look_for_search()
        except BaseException:
            await db.close()
            raise
        return db

    async def ping(self) -> None:
        """Raises StoreError if the database does not answer."""
        async with self.read() as uow:
            await uow.connection.execute(text("SELECT 1"))

    async def migrate(self) -> None:
        """Migrates the schema to the newest revision. Raises StoreError and changes nothing if that fails.

        With master keys it checks them as well, or makes the first: raises MasterKeyError if the database
        is sealed under another.

        Replicas that start together take turns: SQLite has one writer, PostgreSQL an advisory lock.
        """
        async with self._transaction(write=True, migrate=True) as connection:
            if self.dialect == "postgresql":
                # A migration that moves rows may take longer than any other writer.
                await connection.execute(text("SET LOCAL lock_timeout = 0"))
                await advisory_lock(connection, MIGRATION_LOCK)
            await connection.run_sync(_upgrade)
            if self.masters is not None:
                await SubjectKeys(connection, self._unsealed).register()
            await connection.commit()
            # The migration may have switched off foreign keys on this connection.
            await connection.invalidate()

    async def _look_for_search(self) -> None:
        """Learns whether templates of this database have search vectors: every writer must add theirs."""
        async with self.read() as uow:
            self._unsealed.searched = await has_table(uow.connection)

    async def use_gallery(self, options: GalleryOptions) -> None:
        """Opens the gallery of the settings, which PostgreSQL keeps, Milvus, or each process for itself.

        Call it after `migrate`. Raises GalleryRefused if the database cannot keep it, or keeps search
        vectors in clear that another gallery does not need, or if Milvus cannot be had.
        """
        if options.kind != "pgvector" and self._unsealed.searched:
            raise GalleryRefused(
                "the database holds search vectors of HALFLIGHT_GALLERY=pgvector: set it so, or erase"
                " them with `halflight gallery erase` while no service runs"
            )
        if options.kind == "embedded":
            return
        if options.kind == "milvus":
            await self.use_milvus(options)
            return
        async with self._transaction(write=True, migrate=True) as connection:
            if self.dialect == "postgresql":
                await advisory_lock(connection, MIGRATION_LOCK)
            await create_table(connection)
            await connection.commit()
        self._unsealed.searched = True
        url = self._engine.url.render_as_string(hide_password=False)
        self.search = SearchIndex(url, options, self._unsealed, _store_error)
        self._vacuum.soon()

    async def use_milvus(self, options: GalleryOptions) -> None:
        """Connects to Milvus. Raises GalleryRefused."""
        if self.dialect != "postgresql":
            raise GalleryRefused(
                "HALFLIGHT_GALLERY=milvus needs PostgreSQL, and HALFLIGHT_DATABASE_URL names another database"
            )
        self.milvus = MilvusIndex(options)
        await asyncio.to_thread(self.milvus.connect)
        url = self._engine.url.render_as_string(hide_password=False)
        self.reader = TemplateReader(url, self._unsealed, _store_error)
        self._unsealed.outside = self.milvus

    async def erase_outside(self) -> None:
        """Erases the collections of every space from Milvus. Raises StoreError."""
        assert self.milvus is not None  # noqa: S101 - the caller has asked for it
        for name in (await self.collections()).values():
            await asyncio.to_thread(self.milvus.drop, name)

    async def collections(self) -> dict[str, str]:
        """The collection of each space in Milvus, by the space's id. Raises StoreError."""
        async with self.read() as uow:
            return {one.space_id: await uow.search.collection(one.space_id) for one in await uow.spaces.all()}

    async def _remove_outside(self, uow: UnitOfWork) -> None:
        """Erases the rows of templates that a commit removed: only then is their erasure acknowledged."""
        assert self.milvus is not None  # noqa: S101 - the caller has asked
        assert self._unsealed.ids is not None  # noqa: S101 - whoever removes templates has read it
        for space_id, template_ids in uow.log.removals.items():
            name = self._unsealed.ids.collection(space_id)
            await asyncio.to_thread(self.milvus.remove, name, template_ids)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[UnitOfWork]:
        """Opens a unit of work that only reads. Raises StoreError."""
        async with self._transaction(write=False) as connection:
            yield UnitOfWork(connection, self._unsealed)

    @asynccontextmanager
    async def write(self, *, erasing: bool = False) -> AsyncIterator[UnitOfWork]:
        """Opens a unit of work that may write and rolls back without `commit`.

        `erasing`: it may use the room that is kept for erasures, and the journal is emptied after it.
        Raises StoreError; StoreFull, StoreReadOnly and StoreBusy stay in `write_trouble` until a write
        succeeds.
        """
        if self._reserve is not None and erasing:
            await asyncio.to_thread(self._reserve.give_up_if_full)
            self._reserve_kept = False
        uow: UnitOfWork | None = None
        try:
            async with self._transaction(write=True) as connection:
                uow = UnitOfWork(connection, self._unsealed)
                yield uow
        except (StoreFull, StoreReadOnly, StoreBusy) as error:
            self.write_trouble = error
            raise
        self.write_trouble = None
        if self.on_shredded is not None and uow.committed and uow.subject_keys.shredded:
            await asyncio.to_thread(self.on_shredded, uow.subject_keys.shredded)
        if self._unsealed.searched and uow.committed and uow.removed_templates:
            self._vacuum.soon()
        if self.milvus is not None and uow.committed and uow.log.removals:
            await self._remove_outside(uow)
        if (erasing or self._journal_kept) and self.file is not None:
            # A reader of an old state keeps the journal; then the next write tries again.
            self._journal_kept = not await asyncio.to_thread(forget_deleted, self.file)
        if self._reserve is not None and not self._reserve_kept:
            self._reserve_kept = await asyncio.to_thread(self._reserve.keep)

    @asynccontextmanager
    async def _transaction(self, *, write: bool, migrate: bool = False) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            wait_ms = BUSY_MS
            if write:
                wait_ms = await self._wait_turn(stack, BUSY_MS / 1000 if migrate else WRITE_WAIT_S)
            connection: AsyncConnection | None = None
            try:
                connection = await stack.enter_async_context(self._engine.connect())
                await connection.execution_options(**{WRITE: write, MIGRATE: migrate, WAIT_MS: wait_ms})
                await connection.begin()
                yield connection
            except SQLAlchemyError as error:
                # After a failed COMMIT SQLite stays inside the transaction. SQLAlchemy takes it for
                # ended and would reuse the connection in that state.
                if connection is not None:
                    await connection.invalidate()
                # The text of the driver may quote the row, so only its type is passed on.
                raise _store_error(error) from error

    async def _wait_turn(self, stack: AsyncExitStack, wait_s: float) -> int:
        """Waits for a place among the writers of this process; returns the milliseconds left to wait.

        Raises StoreBusy if none is free in time.
        """
        ends = time.monotonic() + wait_s
        try:
            async with asyncio.timeout(wait_s):
                await stack.enter_async_context(self._writers)
        except TimeoutError:
            raise StoreBusy("other writers hold the database") from None
        return max(1, round((ends - time.monotonic()) * 1000))

    async def rewrite(self) -> None:
        """Writes the tables anew, so that no bytes of former rows are left in them. Raises StoreError."""
        if self.file is not None:
            async with AsyncExitStack() as stack:
                await self._wait_turn(stack, BUSY_MS / 1000)
                await asyncio.to_thread(rewrite, self.file)
            return
        engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as connection:
                kept = (SEARCH_TABLE,) if self._unsealed.searched else ()
                for name in (*REWRITTEN, *kept):
                    await connection.execute(text(f"VACUUM (FULL, ANALYZE) {name}"))
                # Statistics of columns hold values of them; a role that may not do this gets a warning.
                await connection.execute(text("VACUUM (FULL) pg_statistic"))
        except SQLAlchemyError as error:
            raise _store_error(error) from error

    async def close(self) -> None:
        await self._vacuum.close()
        if self.search is not None:
            self.search.close()
        if self.reader is not None:
            self.reader.close()
        if self.milvus is not None:
            await asyncio.to_thread(self.milvus.close)
        await self._engine.dispose()


def _store_error(error: SQLAlchemyError) -> StoreError:
    """What failed, in words without data: drivers quote rows in their texts."""
    cause = getattr(error, "orig", None)
    code, state = getattr(cause, "sqlite_errorcode", 0) & 0xFF, getattr(cause, "sqlstate", None)
    if code == sqlite3.SQLITE_FULL or state in POSTGRES_FULL:
        return StoreFull("the disk of the database holds no more")
    if code == sqlite3.SQLITE_READONLY or state in POSTGRES_READ_ONLY:
        return StoreReadOnly("the database takes no writes")
    if code == sqlite3.SQLITE_BUSY or state in POSTGRES_BUSY:
        return StoreBusy("other writers hold the database")
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreError("the database's file cannot be opened: its directory is missing or read-only")
    return StoreError(f"the database failed: {type(error).__name__}")


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # `_begin_sqlite` begins transactions, so the driver must not.
    connection.isolation_level = None
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    for pragma in (
        f"busy_timeout = {BUSY_MS}",
        # An acknowledged enrolment survives a power cut as well as a killed process.
        "synchronous = FULL",
        "foreign_keys = ON",
        # Zeros instead of deleted rows.
        "secure_delete = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Switches the file to write-ahead logging, with short random timeouts.

    Two connections that open a new file at once each hold a shared lock and wait for the other. SQLite
    does not report a deadlock and both would wait the full timeout; the first to give up frees the other.
    """
    end = time.monotonic() + BUSY_MS / 1000
    while True:
        cursor.execute(f"PRAGMA busy_timeout = {random.randint(*WAL_BUSY_MS)}")  # noqa: S311 - breaks a tie
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get(MIGRATE, False):
        # SQLite alters a table by copying and dropping it, which would delete rows that refer to it.
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {options.get(WAIT_MS, BUSY_MS)}")
    # SQLite cannot upgrade a reader to a writer once another connection has written.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(WRITE, False) else "BEGIN")


def _upgrade(connection: Connection) -> None:
    if current_revision(connection) == newest_revision():
        return
    # Only here: Alembic takes longer to load than a migrated database to open.
    from service.store.migrating import upgrade

    upgrade(connection)
    # It reads every row that refers to another, seconds of a large database.
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise StoreError("the migration would break a reference; nothing was changed")
