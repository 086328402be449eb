"""Use cases: identify a probe in the gallery (1:N), verify it against a subject or an image (1:1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from faces.frames import ImageSource
from faces.types import Role
from service.errors import SampleNotFound, SubjectNotFound
from service.inference.engine import Description
from service.matching.choice import every_face, meant_face
from service.matching.judging import Judge
from service.matching.pipeline import FacePipeline, StageTimes
from service.matching.rules import Options, Rule, Rules
from service.matching.searching import best_subjects
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.records import Owner

Decision = Literal["match", "unknown", "uncalibrated"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One subject of a candidate list, judged by the rule of its own template's condition.

    `margin`: score minus threshold, None where the pair of conditions has no threshold. `cosine`: of the
    templates, which the score comes from; None where it is not to be told.
    """

    rank: int
    subject_id: str
    score: float
    rule: Rule
    accepted: bool
    margin: float | None
    metadata: Mapping[str, Any]
    display_name: str | None = None
    cosine: float | None = None

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

    `display_name`: that subject's. `cosine`: of the templates, which the score comes from. A probe whose
    liveness is denied does not match, whatever its score.
    """

    score: float
    rule: Rule
    calibration_id: str
    probe: Description
    reference: Description | None
    display_name: str | None = None
    cosine: float | None = None

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
        best = await best_subjects(self._db, space, Judge(rules, space.cohort, probe), probe, rules, top_k)
        candidates = tuple(
            Candidate(
                rank=rank,
                subject_id=owner.subject_id,
                score=one.score,
                rule=one.rule,
                accepted=one.accepted and not probe.liveness.denied,
                margin=one.margin,
                metadata=owner.metadata,
                display_name=owner.display_name,
                cosine=one.cosine,
            )
            for rank, (owner, one) in enumerate(best, start=1)
        )
        rule = candidates[0].rule if candidates else rules.usual(probe.possible_conditions)
        calibration_id = rules.calibration.id
        return Identified(probe, rule, candidates, calibration_id, rules.comparisons, rules.fpir)

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
            owners = [one.owner for one in enrolled]
            judged = Judge(rules, space.cohort, probe).judge(
                np.stack([one.vector for one in enrolled]), [[one.condition] for one in owners]
            )
            owner, best = max(zip(owners, judged, strict=True), key=lambda one: one[1].order)
        return Verified(
            best.score, best.rule, rules.calibration.id, probe, None, owner.display_name, best.cosine
        )

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
        judged = Judge(rules, space.cohort, probe).judge(
            np.stack([one.embedding.vector for one in references]),
            [one.possible_conditions for one in references],
        )
        return tuple(
            Verified(one.score, one.rule, rules.calibration.id, probe, reference, cosine=one.cosine)
            for reference, one in zip(references, judged, strict=True)
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
        condition, vector = one.owner.condition, one.vector[None]
        judged = [Judge(rules, space.cohort, probe).judge(vector, [[condition]])[0] for probe in probes]
        return one.owner, tuple(
            Verified(
                found.score,
                found.rule,
                rules.calibration.id,
                probe,
                None,
                one.owner.display_name,
                found.cosine,
            )
            for probe, found in zip(probes, judged, strict=True)
        )
