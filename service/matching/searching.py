"""Finds the subjects in the gallery that a probe is most like, each with its best template."""

from __future__ import annotations

import asyncio

import numpy as np

from faces.cohort import Queries
from service.inference.engine import Description
from service.matching.judging import Judge, Judgement
from service.matching.rules import Rules
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.records import Owner

# Hits to search for each candidate: a subject often has several templates.
OVER_FETCH = 4
GROWTH = 4
# So many hits are looked through for the subject that an unknown face is most like. A match is never missed.
LEADING = 320

Judged = tuple[Owner, Judgement]


async def best_subjects(
    db: Database, space: EmbeddingSpace, judge: Judge, probe: Description, rules: Rules, top_k: int
) -> list[Judged]:
    """The `top_k` subjects, each with its best template, judged by that template's own condition.

    Goes on while a template further down the list could still be accepted: where the conditions of references
    differ, a score below another may pass its lower threshold; and by a cohort a lower cosine may be the
    higher score. So by a cohort too, whoever could be accepted is found, exactly; the order of subjects that
    are not accepted is that of the templates that were looked through.
    """
    queries = judge.queries()
    if queries is None:
        return await _by_cosine(db, space, judge, probe, rules, top_k)
    return await _by_cohort(db, space, judge, queries, top_k)


async def _by_cosine(
    db: Database, space: EmbeddingSpace, judge: Judge, probe: Description, rules: Rules, top_k: int
) -> list[Judged]:
    wanted, lowest = top_k * OVER_FETCH, rules.loosest
    while True:
        found = await asyncio.to_thread(space.gallery.search, probe.vectors, wanted)
        hits = [hit for one in found for hit in one]
        async with db.read() as uow:
            owners = await uow.templates.owners([hit.template_id for hit in hits])
        known = [(owners[hit.template_id], hit) for hit in hits if hit.template_id in owners]
        best = _best([(owner, judge.of_cosine(hit.score, [owner.condition])) for owner, hit in known])
        whole = all(len(one) < wanted for one in found)
        enough = len(best) >= top_k and all(one[-1].score < lowest for one in found if one)
        if whole or enough or (len(best) >= top_k and rules.threshold is not None):
            return best[:top_k]
        wanted *= GROWTH


async def _by_cohort(
    db: Database, space: EmbeddingSpace, judge: Judge, queries: Queries, top_k: int
) -> list[Judged]:
    wanted = top_k * OVER_FETCH
    while True:
        found = await asyncio.to_thread(space.gallery.search, queries.vectors, wanted)
        async with db.read() as uow:
            ids = dict.fromkeys(hit.template_id for one in found for hit in one)
            enrolled = list((await uow.templates.owned(space.space_id, list(ids))).values())
        best: list[Judged] = []
        if enrolled:
            owners, vectors = [one.owner for one in enrolled], np.stack([one.vector for one in enrolled])
            # Hundreds of templates against the whole cohort take too long for the loop.
            judged = await asyncio.to_thread(judge.judge, vectors, [[one.condition] for one in owners])
            best = _best(list(zip(owners, judged, strict=True)))
        if any(len(one) < wanted for one in found):
            # Every query meets the whole gallery: one that has no more has seen all there is.
            return best[:top_k]
        if len(best) >= top_k:
            lasts = np.array([one[-1].score for one in found], np.float32)
            leading = best[0][1] if wanted < LEADING else None
            if not judge.may_beat(queries, lasts, leading):
                return best[:top_k]
        wanted *= GROWTH


def _best(judged: list[Judged]) -> list[Judged]:
    """The best template of each subject, best first."""
    best: dict[str, Judged] = {}
    for owner, one in judged:
        known = best.get(owner.subject_id)
        if known is None or one.order > known[1].order:
            best[owner.subject_id] = owner, one
    return sorted(best.values(), key=lambda one: one[1].order, reverse=True)
