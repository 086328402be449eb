"""Asks the engine that searches (`HALFLIGHT_GALLERY`) whether the rows of an erased subject are gone from it.

Milvus keeps its rows outside the files that `residue` reads and outside the transaction of an erasure, so
only Milvus can tell. Those of pgvector lie in PostgreSQL and go with their templates; it is asked all the
same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.spaces.milvus_space import GRACE_S
from service.store.database import Database
from service.store.errors import StoreError
from service.store.milvus_index import MilvusIndex
from service.store.search_schema import GalleryKind, GalleryOptions

# In which a running service erases the rows of templates whose erasure was just committed.
SETTLE_S = 3.0
LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryResidue:
    """What the engine holds after an erasure.

    `of_subject`: rows of the templates that the erasure removed. `ownerless`: other rows that belong to no
    template; some may be of samples that the subject had before. Both are None where nobody was asked:
    `embedded` keeps its rows in files, and of an engine that did not answer `trouble` says why.
    """

    engine: GalleryKind
    of_subject: int | None = None
    ownerless: int | None = None
    trouble: str | None = None

    @property
    def clean(self) -> bool:
        """Whether the engine answered, or there is none to ask, and nothing is left."""
        return self.trouble is None and not self.of_subject and not self.ownerless


async def connect(db: Database, options: GalleryOptions) -> None:
    """Connects to Milvus, if the settings want it, so that an erasure reaches its rows too.

    Raises GalleryRefused, and StoreError if Milvus does not answer.
    """
    if options.kind != "milvus":
        return
    await db.use_gallery(options)
    assert db.milvus is not None  # noqa: S101 - opened just now
    for name in (await db.collections()).values():
        await asyncio.to_thread(db.milvus.load_if_there, name)


async def gallery_residue(
    db: Database, kind: GalleryKind, removed: Mapping[str, Sequence[int]]
) -> GalleryResidue:
    """Asks the engine of the settings, which `connect` has connected.

    `removed`: the ids of templates that the erasure removed, by their space. Waits while transactions run
    that may be about to commit the template of a row, up to `GRACE_S`. Raises StoreError if the database
    fails.
    """
    if db.milvus is not None:
        try:
            return await _ask_milvus(db, db.milvus, removed)
        except StoreError as error:
            return GalleryResidue(engine="milvus", trouble=str(error))
    async with db.read() as uow:
        if not uow.search.kept:
            if kind == "embedded":
                return GalleryResidue(engine=kind)
            return GalleryResidue(engine=kind, of_subject=0, ownerless=0)
        ids = [one for chosen in removed.values() for one in chosen]
        of_subject, ownerless = await uow.search.left_of(ids)
    return GalleryResidue(engine="pgvector", of_subject=of_subject, ownerless=ownerless)


async def _ask_milvus(
    db: Database, milvus: MilvusIndex, removed: Mapping[str, Sequence[int]]
) -> GalleryResidue:
    of_subject = ownerless = 0
    for space_id, name in (await db.collections()).items():
        if not await asyncio.to_thread(milvus.load_if_there, name):
            continue
        own = removed.get(space_id, ())
        present = await asyncio.to_thread(milvus.present, name, own)
        of_subject += len(present)
        strange: list[int] = []
        for part in await asyncio.to_thread(lambda name=name: list(milvus.every(name))):  # type: ignore[misc]
            strange += await _without_template(db, space_id, part)
        strange = [one for one in strange if one not in present]
        ownerless += len(await _settled(db, milvus, (space_id, name), strange))
    return GalleryResidue(engine="milvus", of_subject=of_subject, ownerless=ownerless)


async def _settled(
    db: Database, milvus: MilvusIndex, place: tuple[str, str], strange: Sequence[int]
) -> Sequence[int]:
    """Those of these rows that belong to no template for good: a row is stored before its template is
    committed, and erased after the erasure is."""
    space_id, name = place
    began = time.monotonic()
    async with db.read() as uow:
        newest = await uow.search.newest_transaction()
    while strange:
        async with db.read() as uow:
            ended = await uow.search.all_ended_before(newest)
        present = await asyncio.to_thread(milvus.present, name, strange)
        strange = await _without_template(db, space_id, sorted(present))
        waited = time.monotonic() - began
        if waited > GRACE_S or (ended and waited > SETTLE_S):
            break
        await asyncio.sleep(LOOK_S)
    return strange


async def _without_template(db: Database, space_id: str, ids: Sequence[int]) -> list[int]:
    async with db.read() as uow:
        known = await uow.templates.existing(space_id, ids)
    return [one for one in ids if one not in known]
