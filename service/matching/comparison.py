"""Use cases: identify a probe in the gallery (1:N), verify it against a subject or an image (1:1)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from faces.calibration import UnsupportedFmr
from faces.frames import ImageSource
from faces.types import CONDITIONS, Condition, Role, Spectrum, Turn
from service.errors import SubjectNotFound, UnsupportedFmrPoint
from service.gallery.base import Hit
from service.inference.engine import Description
from service.matching.choice import every_face, meant_face
from service.matching.pipeline import FacePipeline, StageTimes
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.records import Owner

# Hits to search for each candidate: a subject often has several templates.
OVER_FETCH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Decides at a calibrated `fmr`, at a `threshold`, or, without either, at the default FMR.

    `spectrum`: None to recognise it. `every_face`: describe all faces, not only the meant one. `top_k`:
    length of the candidate list. `min_score`: the lowest detection score; None for the setting's.
    `turn`: how far the probe must be turned clockwise; None to find out.
    """

    fmr: float | None = None
    threshold: float | None = None
    spectrum: Spectrum | None = None
    every_face: bool = False
    top_k: int = 5
    min_score: float | None = None
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class Decider:
    """The threshold of one comparison and the FMR it was calibrated for, if any."""

    threshold: float
    target_fmr: float | None

    def accepts(self, score: float) -> bool:
        return score >= self.threshold


@dataclass(frozen=True, slots=True)
class Candidate:
    """One subject of a candidate list; `margin` is score minus threshold."""

    rank: int
    subject_id: str
    score: float
    accepted: bool
    margin: float
    metadata: Mapping[str, Any]
    display_name: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Identified:
    """One probe face with its candidates, best first."""

    description: Description
    decider: Decider
    candidates: tuple[Candidate, ...]

    @property
    def decision(self) -> Literal["match", "unknown"]:
        return "match" if any(c.accepted for c in self.candidates) else "unknown"


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """One 1:1 comparison. `reference`: None if the templates of a subject were the reference."""

    score: float
    decider: Decider
    probe: Description
    reference: Description | None

    @property
    def decision(self) -> Literal["match", "non-match"]:
        return "match" if self.decider.accepts(self.score) else "non-match"


def decider(space: EmbeddingSpace, options: Options, conditions: Sequence[Condition]) -> Decider:
    """The threshold for these conditions; the strictest of several.

    Raises UnsupportedFmrPoint, naming the calibrated points, if the FMR is not one of them.
    """
    if options.threshold is not None:
        return Decider(options.threshold, None)
    calibration = space.calibration
    fmr = calibration.default_fmr if options.fmr is None else options.fmr
    try:
        limits = [calibration.at(condition, fmr).threshold for condition in conditions]
    except UnsupportedFmr as error:
        raise UnsupportedFmrPoint(str(error), supported=list(error.supported)) from error
    return Decider(max(limits), fmr)


class Comparer:
    """Identifies and verifies. The caller passes one space for a whole request, so spaces cannot mix."""

    def __init__(self, db: Database, pipeline: FacePipeline, *, max_faces: int) -> None:
        self._db, self._pipeline, self._every_face = db, pipeline, every_face(max_faces)

    async def describe(
        self, space: EmbeddingSpace, data: ImageSource, options: Options, role: Role, times: StageTimes
    ) -> tuple[Description, ...]:
        """The meant face of an image, or every one.

        Raises NoFace, InvalidParameter for too many faces, and what the pipeline raises.
        """
        described = await self._pipeline.describe(
            space,
            data,
            spectrum=options.spectrum,
            choose=self._every_face if options.every_face else meant_face,
            role=role,
            times=times,
            min_score=options.min_score,
            turn=options.turn,
        )
        return described.faces

    async def identify(
        self, space: EmbeddingSpace, data: ImageSource, options: Options, times: StageTimes
    ) -> tuple[Identified, ...]:
        """Returns the candidates of each probe face. A face without a mate in the gallery is no error.

        Raises UnsupportedFmrPoint, and what `describe` raises.
        """
        _refuse_unsupported(space, options)
        probes = await self.describe(space, data, options, Role.PROBE, times)
        with times.stage("search"):
            return tuple([await self._identify_one(space, probe, options) for probe in probes])

    async def _identify_one(self, space: EmbeddingSpace, probe: Description, options: Options) -> Identified:
        decide = decider(space, options, probe.possible_conditions)
        best = await self._best_subjects(space, probe, options.top_k)
        candidates = tuple(
            Candidate(
                rank=rank,
                subject_id=owner.subject_id,
                score=hit.score,
                accepted=decide.accepts(hit.score),
                margin=hit.score - decide.threshold,
                metadata=owner.metadata,
                display_name=owner.display_name,
            )
            for rank, (owner, hit) in enumerate(best, start=1)
        )
        return Identified(probe, decide, candidates)

    async def _best_subjects(
        self, space: EmbeddingSpace, probe: Description, top_k: int
    ) -> list[tuple[Owner, Hit]]:
        """The `top_k` subjects, each with its highest scoring template."""
        wanted = top_k * OVER_FETCH
        while True:
            found = await asyncio.to_thread(space.gallery.search, probe.vectors, wanted)
            hits = sorted((hit for one in found for hit in one), key=lambda hit: -hit.score)
            async with self._db.read() as uow:
                owners = await uow.templates.owners([hit.template_id for hit in hits])
            best: dict[str, tuple[Owner, Hit]] = {}
            for hit in hits:  # by falling score: the first hit of a subject is its best
                owner = owners.get(hit.template_id)
                if owner is not None:
                    best.setdefault(owner.subject_id, (owner, hit))
            if len(best) >= top_k or all(len(one) < wanted for one in found):
                return list(best.values())[:top_k]
            wanted *= 4

    async def verify_subject(
        self,
        space: EmbeddingSpace,
        data: ImageSource,
        subject_id: str,
        options: Options,
        times: StageTimes,
    ) -> Verified:
        """Compares a probe with the best template of one subject. Raises SubjectNotFound."""
        _refuse_unsupported(space, options)
        async with self._db.read() as uow:
            vectors = await uow.templates.vectors_of(space.space_id, subject_id)
        if not len(vectors):
            raise SubjectNotFound(f"no subject {subject_id} is enrolled")
        (probe,) = await self.describe(space, data, options, Role.PROBE, times)
        with times.stage("search"):
            score = float(np.clip(np.max(vectors @ probe.vectors.T), -1.0, 1.0))
        return Verified(score, decider(space, options, probe.possible_conditions), probe, None)

    async def verify_image(
        self,
        space: EmbeddingSpace,
        data: ImageSource,
        other: ImageSource,
        options: Options,
        times: StageTimes,
    ) -> Verified:
        """Compares a probe with one reference image; stores nothing."""
        _refuse_unsupported(space, options)
        as_reference = Options(spectrum=None, min_score=options.min_score)
        (probe,) = await self.describe(space, data, options, Role.PROBE, times)
        (reference,) = await self.describe(space, other, as_reference, Role.REFERENCE, times)
        score = max(one.score(reference.embedding) for one in probe.embeddings)
        decide = decider(space, options, (*probe.possible_conditions, *reference.possible_conditions))
        return Verified(score, decide, probe, reference)


def _refuse_unsupported(space: EmbeddingSpace, options: Options) -> None:
    """Raises UnsupportedFmrPoint before any work is done."""
    decider(space, options, CONDITIONS)
