"""Use cases: identify a probe in the gallery (1:N), verify it against a subject or an image (1:1)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from faces.frames import ImageSource
from faces.types import Role
from service.errors import SampleNotFound, SubjectNotFound
from service.inference.engine import Description
from service.matching.choice import every_face, meant_face
from service.matching.pipeline import FacePipeline, StageTimes
from service.matching.rules import Options, Rule, Rules
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.records import Owner

# Hits to search for each candidate: a subject often has several templates.
OVER_FETCH = 4


Decision = Literal["match", "unknown", "uncalibrated"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One subject of a candidate list, judged by the rule of its own template's condition.

    `margin`: score minus threshold, None where the pair of conditions has no threshold.
    """

    rank: int
    subject_id: str
    score: float
    rule: Rule
    accepted: bool
    margin: float | None
    metadata: Mapping[str, Any]
    display_name: str | None = None

    @property
    def decision(self) -> Decision:
        return _decision(self.rule, accepted=self.accepted)


@dataclass(frozen=True, slots=True, eq=False)
class Identified:
    """One probe face with its candidates, best first. `rule`: that of the first; `fpir`: see `Rules`.

    Of a face whose liveness is denied no candidate is accepted, whatever its score.
    """

    description: Description
    rule: Rule
    candidates: tuple[Candidate, ...]
    calibration_id: str
    comparisons: int
    fpir: float | None

    @property
    def decision(self) -> Decision:
        return _decision(self.rule, accepted=any(each.accepted for each in self.candidates))


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """One 1:1 comparison. `reference`: None if the templates of a subject were the reference.

    `display_name`: that subject's. A probe whose liveness is denied does not match, whatever its score.
    """

    score: float
    rule: Rule
    calibration_id: str
    probe: Description
    reference: Description | None
    display_name: str | None = None

    @property
    def decision(self) -> Literal["match", "non-match", "uncalibrated"]:
        found = _decision(
            self.rule, accepted=self.rule.accepts(self.score) and not self.probe.liveness.denied
        )
        return "non-match" if found == "unknown" else found


def _decision(rule: Rule, *, accepted: bool) -> Decision:
    if accepted:
        return "match"
    return "uncalibrated" if rule.threshold is None else "unknown"


@dataclass(frozen=True, slots=True)
class _Judged:
    """A template of a subject, its score, and the rule that decides about it."""

    owner: Owner
    score: float
    rule: Rule

    @property
    def order(self) -> tuple[bool, float]:
        """Accepted ones come first, by how far they pass; the others by score."""
        accepted, margin = self.rule.accepts(self.score), self.rule.margin(self.score)
        return accepted, margin if accepted and margin is not None else self.score


class Comparer:
    """Identifies and verifies. The caller passes one space for a whole request, so spaces cannot mix."""

    def __init__(self, db: Database, pipeline: FacePipeline, *, max_faces: int) -> None:
        self._db, self._pipeline, self._max_faces = db, pipeline, max_faces

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
            choose=every_face(self._max_faces, options.most) if options.every_face else meant_face,
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
        rules = Rules.in_space(space, options, comparisons=space.gallery.size)
        probes = await self.describe(space, data, options, Role.PROBE, times)
        with times.stage("search"):
            return tuple([await self._identify_one(space, probe, rules, options.top_k) for probe in probes])

    async def _identify_one(
        self, space: EmbeddingSpace, probe: Description, rules: Rules, top_k: int
    ) -> Identified:
        best = await self._best_subjects(space, probe, rules, top_k)
        candidates = tuple(
            Candidate(
                rank=rank,
                subject_id=one.owner.subject_id,
                score=one.score,
                rule=one.rule,
                accepted=one.rule.accepts(one.score) and not probe.liveness.denied,
                margin=one.rule.margin(one.score),
                metadata=one.owner.metadata,
                display_name=one.owner.display_name,
            )
            for rank, one in enumerate(best, start=1)
        )
        rule = candidates[0].rule if candidates else rules.usual(probe.possible_conditions)
        calibration_id = rules.calibration.id
        return Identified(probe, rule, candidates, calibration_id, rules.comparisons, rules.fpir)

    async def _best_subjects(
        self, space: EmbeddingSpace, probe: Description, rules: Rules, top_k: int
    ) -> list[_Judged]:
        """The `top_k` subjects, each with its best template, judged by that template's own condition.

        Goes on while a template further down the list could still be accepted: where the conditions of
        references differ, a score below another may pass its lower threshold.
        """
        wanted, lowest = top_k * OVER_FETCH, rules.loosest
        by_reference = rules.by_reference(probe.possible_conditions)
        while True:
            found = await asyncio.to_thread(space.gallery.search, probe.vectors, wanted)
            hits = [hit for one in found for hit in one]
            async with self._db.read() as uow:
                owners = await uow.templates.owners([hit.template_id for hit in hits])
            best: dict[str, _Judged] = {}
            for hit in hits:
                owner = owners.get(hit.template_id)
                if owner is None:
                    continue
                judged = _Judged(owner, hit.score, by_reference[owner.condition])
                known = best.get(owner.subject_id)
                if known is None or judged.order > known.order:
                    best[owner.subject_id] = judged
            whole = all(len(one) < wanted for one in found)
            enough = len(best) >= top_k and all(one[-1].score < lowest for one in found if one)
            if whole or enough or (len(best) >= top_k and rules.threshold is not None):
                return sorted(best.values(), key=lambda one: one.order, reverse=True)[:top_k]
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
        rules = Rules.in_space(space, options, comparisons=1)
        async with self._db.read() as uow:
            enrolled = await uow.templates.of_subject(space.space_id, subject_id)
        if not enrolled:
            raise SubjectNotFound(f"no subject {subject_id} is enrolled")
        (probe,) = await self.describe(space, data, options, Role.PROBE, times)
        with times.stage("search"):
            by_reference, vectors = rules.by_reference(probe.possible_conditions), probe.vectors
            judged = []
            for one in enrolled:
                score = float(np.clip(np.max(vectors @ one.vector), -1.0, 1.0))
                judged.append(_Judged(one.owner, score, by_reference[one.owner.condition]))
            best = max(judged, key=lambda one: one.order)
        return Verified(best.score, best.rule, rules.calibration.id, probe, None, best.owner.display_name)

    async def verify_image(
        self,
        space: EmbeddingSpace,
        data: ImageSource,
        other: ImageSource,
        options: Options,
        times: StageTimes,
    ) -> Verified:
        """Compares a probe with one reference image; stores nothing."""
        (verified,) = await self.verify_images(space, data, other, replace(options, every_face=False), times)
        return verified

    async def verify_images(
        self,
        space: EmbeddingSpace,
        data: ImageSource,
        other: ImageSource,
        options: Options,
        times: StageTimes,
    ) -> tuple[Verified, ...]:
        """Compares the meant face of a probe with faces of a reference image, as `options` choose them there.

        Stores nothing.
        """
        rules = Rules.in_space(space, options, comparisons=1)
        as_reference = Options(min_score=options.min_score, every_face=options.every_face, most=options.most)
        (probe,) = await self.describe(space, data, replace(options, every_face=False), Role.PROBE, times)
        references = await self.describe(space, other, as_reference, Role.REFERENCE, times)
        return tuple(
            Verified(
                max(one.score(reference.embedding) for one in probe.embeddings),
                rules.rule(reference.possible_conditions, probe.possible_conditions),
                rules.calibration.id,
                probe,
                reference,
            )
            for reference in references
        )

    async def verify_sample(
        self, space: EmbeddingSpace, data: ImageSource, sample_id: str, options: Options, times: StageTimes
    ) -> tuple[Owner, tuple[Verified, ...]]:
        """Compares probes with the template of one enrolled sample. Returns its owner as well.

        Raises SampleNotFound if there is no such sample, or it has no template in this space.
        """
        rules = Rules.in_space(space, options, comparisons=1)
        async with self._db.read() as uow:
            token = await uow.samples.subject_of(sample_id)
            enrolled = [] if token is None else await uow.templates.of_subject(space.space_id, token)
        one = next((each for each in enrolled if each.owner.sample_id == sample_id), None)
        if one is None:
            raise SampleNotFound("no sample of this id is enrolled")
        probes = await self.describe(space, data, options, Role.PROBE, times)
        return one.owner, tuple(
            Verified(
                float(np.clip(np.max(probe.vectors @ one.vector), -1.0, 1.0)),
                rules.by_reference(probe.possible_conditions)[one.owner.condition],
                rules.calibration.id,
                probe,
                None,
                one.owner.display_name,
            )
            for probe in probes
        )
