"""Finds subjects by their ids, of which every table holds only a token; the id itself lies sealed.

The key of the tokens lies in one row, wrapped under the master key, from the first start on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import MasterKey, MasterKeyError, SealBroken, SubjectKey
from service.sealing.tokens import MARK, IdKey
from service.store.errors import StoreError
from service.store.tables import id_keys, subjects

if TYPE_CHECKING:
    from service.store.subject_keys import Unsealed

ID_KEY = 1
NAME = "subject id"


def seal_id(key: SubjectKey, token: str, subject_id: str) -> bytes:
    """The id of a subject as its row keeps it, bound to its token."""
    return key.seal(subject_id.encode(), NAME, token)


def open_id(key: SubjectKey, token: str, sealed: bytes | None) -> str:
    """Raises SealBroken."""
    return key.open(sealed or b"", NAME, token).decode()


class SubjectIds:
    """Tokens for ids. Every method takes a token as well, and it stays one."""

    def __init__(self, connection: AsyncConnection, unsealed: Unsealed) -> None:
        self._connection, self._unsealed = connection, unsealed

    async def token(self, subject_id: str) -> str:
        """What stands for this id in every table. Raises StoreError."""
        return (await self.key()).token(subject_id)

    async def tokens(self, subject_ids: Iterable[str]) -> dict[str, str]:
        """Maps each token to the id that was given. Raises StoreError."""
        if not (given := list(subject_ids)):
            return {}
        key = await self.key()
        return {key.token(subject_id): subject_id for subject_id in given}

    async def answer_token(self, scope: str, key: str) -> str:
        """What stands for an idempotency key. Raises StoreError."""
        return (await self.key()).answer_token(scope, key)

    async def key(self, *, upgrading: bool = False) -> IdKey:
        """The key of the tokens. Raises StoreError.

        Also if ids of an older release lie in clear: nobody would find them, but for the upgrade itself.
        """
        if self._unsealed.ids is not None:
            return self._unsealed.ids
        row = (await self._connection.execute(select(id_keys).where(id_keys.c.key_id == ID_KEY))).first()
        if row is None:
            raise StoreError("the database has no key of ids: start the service once")
        if not (row.all_hidden or upgrading):
            raise StoreError(
                "it holds ids of an older release in clear: start the service once, to hide them"
            )
        try:
            key = IdKey.unwrap(self._unsealed.masters.find(row.master_id), row.wrapped)
        except (SealBroken, MasterKeyError) as error:
            raise StoreError("the key of the subjects' ids does not open") from error
        self._unsealed.ids = key
        return key

    async def register(self, master: MasterKey) -> None:
        """Checks the key of the tokens, or makes that of a new database under this master key.

        Raises MasterKeyError if it is lost or does not open. The caller holds the lock of migrations.
        """
        row = (await self._connection.execute(select(id_keys).where(id_keys.c.key_id == ID_KEY))).first()
        if row is not None:
            try:
                IdKey.unwrap(self._unsealed.masters.find(row.master_id), row.wrapped)
            except SealBroken as error:
                raise MasterKeyError(
                    "the key of the subjects' ids was changed in the database and does not open: restore the"
                    " database from a backup"
                ) from error
            return
        if await self._any(subjects.c.subject_id >= MARK):
            raise MasterKeyError(
                "the key of the subjects' ids is missing in the database: restore the database from a backup"
            )
        await self._connection.execute(
            insert(id_keys).values(
                key_id=ID_KEY,
                master_id=master.key_id,
                wrapped=IdKey.new().wrap(master),
                all_hidden=not await self._any(subjects.c.subject_id < MARK),
            )
        )

    async def rewrap(self, master: MasterKey) -> None:
        """Wraps the key of the tokens under another master key. Raises StoreError."""
        wrapped = (await self.key(upgrading=True)).wrap(master)
        changed = update(id_keys).where(id_keys.c.key_id == ID_KEY)
        await self._connection.execute(changed.values(master_id=master.key_id, wrapped=wrapped))

    async def _any(self, condition: ColumnElement[bool]) -> bool:
        query = select(exists().where(condition))
        return bool((await self._connection.execute(query)).scalar_one())
