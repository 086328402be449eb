"""What is sealed beside the crop of a kept probe: the decision, the geometry of the face, its templates."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.masks import MaskReading, MaskState
from faces.strict import Strict
from faces.types import Box, Condition, Embedding, Face, Spectrum, Turn
from service.inference.engine import Description
from service.inference.quality import Pose, Quality
from service.live.decisions import Decision, Picture
from service.store.probes import KeptProbe, ProbeState

Finite = Annotated[float, Field(allow_inf_nan=False)]
Point = tuple[Finite, Finite]


class _Face(Strict):
    box: tuple[Finite, Finite, Finite, Finite]
    landmarks: tuple[Point, Point, Point, Point, Point]
    score: Finite
    rotation: Turn


class _Picture(Strict):
    spectrum: Spectrum
    mask_state: MaskState
    masked: bool
    mask_probability: Finite
    quality: int
    reasons: tuple[str, ...]
    inter_eye_px: Finite
    sharpness: Finite
    exposure: Finite
    yaw: Finite
    roll: Finite


class Facts(Strict):
    """`alignment`: of the crop. `probe`, `reference`: templates, float32 little endian in base64; as a probe
    one or two, as a reference one, absent where nobody asks for it."""

    version: Literal[1] = 1
    decision: str
    action: Literal["identify", "verify", "track"]
    subject_id: str | None
    score: Finite | None
    threshold: Finite | None
    fmr: Finite | None
    pair: str
    camera: str | None
    alignment: str
    face: _Face
    picture: _Picture
    probe: tuple[str, ...]
    reference: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A kept probe, opened. `probe`: float32 [n, d], n of 1 or 2; `reference`: float32 [d], or None."""

    event_id: str
    at: datetime
    state: ProbeState
    facts: Facts
    picture: Picture
    face: Face
    probe: NDArray[np.float32]
    reference: NDArray[np.float32] | None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Every condition that the face may be in."""
        return tuple(Condition(self.picture.spectrum, masked) for masked in self.picture.mask.possible)


def facts_of(decision: Decision, seen: Description, reference: Embedding | None) -> Facts:
    face, mask, quality = seen.face, seen.mask, seen.quality
    return Facts(
        decision=decision.decision,
        action=decision.action,
        subject_id=None if decision.subject is None else decision.subject.subject_id,
        score=decision.score,
        threshold=decision.rule.threshold,
        fmr=decision.rule.target_fmr,
        pair=str(decision.rule.pair),
        camera=decision.camera,
        alignment=seen.crop.alignment_id,
        face=_Face(
            box=(face.box.x, face.box.y, face.box.width, face.box.height),
            landmarks=face.landmarks,
            score=face.score,
            rotation=face.rotation,
        ),
        picture=_Picture(
            spectrum=seen.crop.spectrum,
            mask_state=mask.state,
            masked=mask.masked,
            mask_probability=mask.probability,
            quality=quality.score,
            reasons=tuple(quality.reasons),
            inter_eye_px=quality.inter_eye_px,
            sharpness=quality.sharpness,
            exposure=quality.exposure,
            yaw=quality.pose.yaw,
            roll=quality.pose.roll,
        ),
        probe=tuple(_text(one.vector) for one in seen.embeddings),
        reference=None if reference is None else _text(reference.vector),
    )


def with_reference(facts: Facts, reference: Embedding) -> Facts:
    """The same facts with the template that the face has as a reference."""
    return facts.model_copy(update={"reference": _text(reference.vector)})


def opened(kept: KeptProbe) -> Sighting:
    """Raises ValueError if the facts are not as `facts_of` writes them."""
    facts = Facts.model_validate_json(kept.sealed)
    picture, face = facts.picture, facts.face
    return Sighting(
        event_id=kept.event_id,
        at=kept.at,
        state=kept.state,
        facts=facts,
        picture=Picture(
            picture.spectrum,
            MaskReading(picture.mask_state, picture.masked, picture.mask_probability),
            Quality(
                picture.quality,
                picture.reasons,
                picture.inter_eye_px,
                picture.sharpness,
                picture.exposure,
                Pose(yaw=picture.yaw, roll=picture.roll),
            ),
        ),
        face=Face(Box(*face.box), face.landmarks, face.score, rotation=face.rotation),
        probe=_vectors(facts.probe),
        reference=None if facts.reference is None else _vectors([facts.reference])[0],
    )


def _text(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def _vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.stack([np.frombuffer(base64.b64decode(text), "<f4") for text in texts]).astype(np.float32)
