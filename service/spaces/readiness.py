"""The check before a space is ready: nothing missing, a complete gallery, samples identify themselves."""

from __future__ import annotations

import asyncio

import numpy as np

from service.crops import CropUnreadable, decode_crop
from service.inference.encoder import EncoderError
from service.spaces.backfill import embed
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.records import StoredCrop, StoredTemplate

SAMPLES_CHECKED = 32
# Least cosine of the same crop through the same network: batching and threads change the last bits only.
SAME_CROP_COSINE = 0.999
TIE_COSINE = 1e-4
COUNT_ATTEMPTS = 40
COUNT_WAIT_S = 0.05


class SpaceNotFit(RuntimeError):
    """The space cannot become ready. The text says why."""


async def check_readiness(db: Database, space: EmbeddingSpace) -> int:
    """Returns how many samples identified themselves. Raises SpaceNotFit, StoreError."""
    async with db.read() as uow:
        missing = await uow.templates.count_missing(space.space_id)
    if missing:
        raise SpaceNotFit(f"{missing} samples have no template in the space")
    await _check_count(db, space)
    async with db.read() as uow:
        drawn = await uow.templates.pick_random(space.space_id, SAMPLES_CHECKED)
        kept = await uow.crops.of_samples([one.sample_id for one in drawn], space.manifest.encoder.alignment)
    for one in drawn:
        if await _identifies_itself(space, one, kept.get(one.sample_id)):
            continue
        async with db.read() as uow:
            gone = one.template_id not in await uow.templates.owners([one.template_id])
        if not gone:
            raise SpaceNotFit("a sample does not find its own template: the networks or the gallery differ")
    return len(drawn)


async def _check_count(db: Database, space: EmbeddingSpace) -> None:
    """Raises SpaceNotFit unless the gallery holds as many templates as the database, at one log position."""
    size, count = 0, -1
    for _ in range(COUNT_ATTEMPTS):
        await space.follow(db)
        async with db.read() as uow:
            count, head = await uow.templates.count(space.space_id), await uow.log.head(space.space_id)
        size = space.gallery.size
        if size == count and space.applied_seq == head:
            return
        await asyncio.sleep(COUNT_WAIT_S)
    raise SpaceNotFit(f"the gallery holds {size} templates, the database {count}")


async def _identifies_itself(space: EmbeddingSpace, one: StoredTemplate, crop: StoredCrop | None) -> bool:
    """Whether the sample's crop, or its template if no crop can be read, finds the template first."""
    query = one.vector
    if crop is not None:
        try:
            query = await embed(space, await asyncio.to_thread(decode_crop, crop))
        except CropUnreadable:
            pass
        except EncoderError:
            return False
    own = float(np.dot(query, one.vector))
    (hits,) = await asyncio.to_thread(space.gallery.search, query[None, :], 1)
    # Two samples of one picture score equally.
    return bool(hits) and own >= SAME_CROP_COSINE and hits[0].score <= own + TIE_COSINE
