"""The options of CompreFace's routes with images, and what their answers say of a face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query

from service.access.keys import Principal, Role
from service.api.compreface.schemas import BoxOut, MaskOut, SeenFaceOut
from service.api.deps import StateDep
from service.api.image_options import turn_of
from service.errors import Forbidden
from service.inference.engine import Description
from service.matching.compreface_scale import detection_probability, detection_score
from service.matching.pipeline import StageTimes
from service.matching.rules import Options
from service.settings import Settings
from service.spaces.space import EmbeddingSpace

LANDMARKS, MASK, CALCULATOR = "landmarks", "mask", "calculator"

Limit = Annotated[int, Query(ge=0, description="so many of the largest faces; 0: every one")]
Probability = Annotated[
    float | None,
    Query(
        ge=0,
        le=1,
        description="0.8 asks for the detector's own threshold; by default the setting's, or that one",
    ),
]
Predictions = Annotated[int, Query(ge=1, le=100, description="subjects for each face")]
Plugins = Annotated[
    str,
    Query(
        max_length=200,
        description="`landmarks`, `mask`, `calculator` (the template, role operator); the service has no"
        " others, and leaves them out as CompreFace does",
    ),
]
Status = Annotated[bool, Query(description="adds times and versions")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of one request. `turn_setting`: what the settings say of the cameras' turn."""

    limit: int
    probability: float | None
    predictions: int
    plugins: frozenset[str]
    status: bool
    turn_setting: str

    def check(self, caller: Principal) -> None:
        """Raises Forbidden where the key may not have what is asked for."""
        if CALCULATOR in self.plugins and not caller.allows(Role.OPERATOR):
            raise Forbidden(
                f"the plugin `calculator` needs the role operator, the key has {caller.role.value}"
            )

    def options(self, space: EmbeddingSpace, settings: Settings) -> Options:
        """The same in our own terms: every face, or the `limit` largest, at the thresholds in force."""
        return Options(
            every_face=True,
            most=self.limit or None,
            top_k=self.predictions,
            min_score=min_score_of(self.probability, space, settings),
            turn=turn_of(None, self.turn_setting),
        )

    def versions(self, space: EmbeddingSpace) -> dict[str, str] | None:
        """What computed the answer; None if nobody asked."""
        if not self.status:
            return None
        name = f"{space.manifest.name} {space.manifest.version}"
        return {"detector": name, "calculator": space.space_id} | dict.fromkeys(
            sorted(self.plugins & {LANDMARKS, MASK}), name
        )


async def asked_options(
    state: StateDep,
    limit: Limit = 0,
    det_prob_threshold: Probability = None,
    prediction_count: Predictions = 1,
    face_plugins: Plugins = "",
    status: Status = False,
) -> Asked:
    return Asked(
        limit=limit,
        probability=det_prob_threshold,
        predictions=prediction_count,
        plugins=frozenset(slug.strip() for slug in face_plugins.split(",")),
        status=status,
        turn_setting=state.settings.camera_turn,
    )


def _own_score(space: EmbeddingSpace, settings: Settings) -> float:
    """The lowest detection score of a face where nobody asks for another."""
    if settings.min_detection_score is not None:
        return settings.min_detection_score
    return space.manifest.detector.score_threshold


def min_score_of(probability: float | None, space: EmbeddingSpace, settings: Settings) -> float | None:
    return None if probability is None else detection_score(probability, _own_score(space, settings))


def seen_face(
    seen: Description, asked: Asked, space: EmbeddingSpace, settings: Settings, times: StageTimes
) -> dict[str, Any]:
    """The fields of `SeenFaceOut`."""
    face, box, mask = seen.face, seen.face.box, seen.mask
    found = SeenFaceOut(
        box=BoxOut(
            probability=detection_probability(face.score, _own_score(space, settings)),
            x_min=max(0, round(box.x)),
            y_min=max(0, round(box.y)),
            x_max=round(box.x + box.width),
            y_max=round(box.y + box.height),
        )
    )
    if LANDMARKS in asked.plugins:
        found.landmarks = [(round(x), round(y)) for x, y in face.landmarks]
    if MASK in asked.plugins:
        found.mask = MaskOut(
            probability=round(mask.probability if mask.masked else 1 - mask.probability, 4),
            value="with_mask" if mask.masked else "without_mask",
        )
    if CALCULATOR in asked.plugins:
        found.embedding = seen.embedding.vector.tolist()
    if asked.status:
        spent = times.as_ms()
        found.execution_time = {"detector": spent["detect"], "calculator": spent["embed"]}
    return {name: getattr(found, name) for name in SeenFaceOut.model_fields}
