"""Stores the data keys of subjects, wrapped under the master key, and which master keys there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import MasterKey, MasterKeyError, SealBroken, SubjectKey
from service.sealing.sources import MasterKeys
from service.sealing.tokens import IdKey
from service.sealing.transform import OrthogonalTransform
from service.store.errors import StoreError
from service.store.locks import advisory_lock
from service.store.milvus_index import MilvusIndex
from service.store.portions import portions
from service.store.refused import RefusedRows
from service.store.subject_ids import SubjectIds
from service.store.tables import master_keys, samples, subject_keys

# PostgreSQL's advisory lock: who wraps a new key takes it shared, who changes the master key exclusive.
KEYS_LOCK = 0x48A22
# What `Unsealed.unwrap` takes after the id of the subject, in this order.
WRAPPED_KEY = (subject_keys.c.key_id, subject_keys.c.master_id, subject_keys.c.wrapped)


class Unsealed:
    """What units of work need to open and seal: master keys, the key of ids, the register of refused rows."""

    def __init__(self, masters: MasterKeys | None, refused: RefusedRows) -> None:
        self._masters, self.refused = masters, refused
        # Known once a unit of work has read it.
        self.ids: IdKey | None = None
        # Whether templates have search vectors in the database, and under which transform by space.
        self.searched = False
        self.transforms: dict[str, OrthogonalTransform] = {}
        # Where `HALFLIGHT_GALLERY=milvus` keeps search vectors: every writer of this process adds its own.
        self.outside: MilvusIndex | None = None

    @property
    def masters(self) -> MasterKeys:
        """Raises StoreError if the database was opened without its master key."""
        if self._masters is None:
            raise StoreError("the database was opened without its master key")
        return self._masters

    def unwrap(
        self, token: str, key_id: str | None, master_id: str | None, wrapped: bytes | None
    ) -> SubjectKey | None:
        """The key of a subject from its row; None, and the row is refused, if it does not open."""
        if key_id is None or master_id is None or wrapped is None:
            return None
        try:
            return self.masters.find(master_id).unwrap(token, key_id, wrapped)
        except (SealBroken, MasterKeyError):
            self.refused.add(f"subject key {key_id}")
            return None


class SubjectKeys:
    """All SQL about the keys of subjects. Remembers keys for as long as the unit of work lasts.

    `subject_id`: an id or a token, except where only the one is said.
    """

    def __init__(self, connection: AsyncConnection, unsealed: Unsealed) -> None:
        self._connection, self._unsealed = connection, unsealed
        self.ids = SubjectIds(connection, unsealed)
        # By token.
        self._known: dict[str, SubjectKey] = {}
        # The ids of keys that go if this unit of work commits.
        self.shredded: list[str] = []
        self._owner: dict[str, str] = {}

    async def create(self, subject_id: str, key: SubjectKey | None = None) -> SubjectKey:
        """Makes the key of a new subject, whose row exists, or takes that of a restored one.

        Raises StoreError.
        """
        key, master = key or SubjectKey.new(), await self.current_master()
        token = await self.ids.token(subject_id)
        row = {"subject_id": token, "key_id": key.key_id, "master_id": master.key_id}
        wrapped = master.wrap(token, key)
        await self._connection.execute(insert(subject_keys).values(**row, wrapped=wrapped))
        self._known[token] = key
        return key

    async def current_master(self) -> MasterKey:
        """The master key that wraps new keys, which stays the current one until the transaction ends.

        Raises StoreError.
        """
        await advisory_lock(self._connection, KEYS_LOCK, shared=True)
        query = select(master_keys.c.key_id).where(master_keys.c.current.is_(True))
        key_id = (await self._connection.execute(query)).scalar_one_or_none()
        if key_id is None:
            raise StoreError("the database has no master key: start the service once")
        try:
            return self._unsealed.masters.find(key_id)
        except MasterKeyError as error:
            raise StoreError(str(error)) from error

    async def of_subject(self, subject_id: str) -> SubjectKey:
        """Raises StoreError if the subject has no key that opens."""
        key = (await self.of_subjects([subject_id])).get(subject_id)
        if key is None:
            raise StoreError("the key of the subject is missing or does not open")
        return key

    async def of_subjects(self, subject_ids: Sequence[str]) -> dict[str, SubjectKey]:
        """Maps those subjects whose key opens to it, by what was given; the others are refused rows."""
        given = await self.ids.tokens(subject_ids)
        for chosen in portions([token for token in given if token not in self._known]):
            query = select(subject_keys).where(subject_keys.c.subject_id.in_(chosen))
            for token, key_id, master_id, wrapped in await self._connection.execute(query):
                key = self._unsealed.unwrap(token, key_id, master_id, wrapped)
                if key is not None:
                    self._known[token] = key
        return {one: self._known[token] for token, one in given.items() if token in self._known}

    async def held_key_id(self, subject_id: str) -> str | None:
        """The id of a subject's key, which stays until this transaction ends; None if it is gone."""
        key = (await self.of_subjects([subject_id])).get(subject_id)
        if key is None:
            return None
        return key.key_id if await self.is_held(key.key_id) else None

    async def is_held(self, key_id: str) -> bool:
        """Whether a key is there, whoever's it is by now; it stays until this transaction ends."""
        held = select(subject_keys.c.key_id).where(subject_keys.c.key_id == key_id)
        found = await self._connection.execute(held.with_for_update(read=True))
        return found.scalar_one_or_none() is not None

    def unwrap_clear(self, subject_id: str, key_id: str, master_id: str, wrapped: bytes) -> SubjectKey | None:
        """The key that an older release bound to an id; None, and the row is refused, if it does not open."""
        return self._unsealed.unwrap(subject_id, key_id, master_id, wrapped)

    async def of_sample(self, sample_id: str) -> SubjectKey:
        """The key of a sample's subject. Raises StoreError if there is none that opens."""
        owners = await self.owners_of([sample_id])
        if sample_id not in owners:
            raise StoreError("no such sample")
        return await self.of_subject(owners[sample_id])

    async def owners_of(self, sample_ids: Sequence[str]) -> dict[str, str]:
        """Maps each of these samples that exists to the token of its subject."""
        wanted = [one for one in sample_ids if one not in self._owner]
        for chosen in portions(wanted):
            query = select(samples.c.sample_id, samples.c.subject_id).where(samples.c.sample_id.in_(chosen))
            for sample_id, token in await self._connection.execute(query):
                self._owner[sample_id] = token
        return {one: self._owner[one] for one in sample_ids if one in self._owner}

    def note_owner(self, sample_id: str, token: str) -> None:
        """A sample that this unit of work adds or moves, and the token of its subject."""
        self._owner[sample_id] = token

    async def rename(self, old: str, new: str) -> SubjectKey:
        """Binds the key of a subject to a new token; its row still bears the old one. Raises StoreError."""
        key, master = await self.of_subject(old), await self.current_master()
        changed = update(subject_keys).where(subject_keys.c.subject_id == old)
        await self._connection.execute(changed.values(master_id=master.key_id, wrapped=master.wrap(new, key)))
        self._known[new] = self._known.pop(old)
        self._owner = {}
        return key

    async def key_ids(self) -> set[str]:
        """The ids of all keys of subjects."""
        return {row[0] for row in await self._connection.execute(select(subject_keys.c.key_id))}

    async def masters(self) -> dict[str, bool]:
        """The check values of the master keys that the database knows, and which one is current."""
        rows = await self._connection.execute(select(master_keys.c.key_id, master_keys.c.current))
        return {row.key_id: row.current for row in rows}

    async def register(self) -> None:
        """Checks the master key and the key of ids, or makes or takes the first ones of a new database.

        Raises MasterKeyError if this process does not hold the key that the database is sealed under, or if
        that of the ids is lost. The caller holds the lock of migrations.
        """
        masters, known = self._unsealed.masters, await self.masters()
        if known:
            held = {key.key_id for key in masters.load()}
            for key_id in known:
                if key_id not in held:
                    raise MasterKeyError(
                        f"the database is sealed under master key {key_id},"
                        f" which {masters.source.where} does not hold"
                    )
            await self.ids.register(await self.current_master())
            return
        held_keys = masters.load()
        first = held_keys[0] if held_keys else masters.create()
        await self._connection.execute(
            insert(master_keys).values(
                key_id=first.key_id, current=True, all_sealed=False, created_at=datetime.now(UTC)
            )
        )
        await self.ids.register(first)
