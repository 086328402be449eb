"""The thresholds that an evaluation suggests and an administrator installs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from faces.calibration import PairPoints
from faces.strict import Strict
from faces.types import PAIRS, Pair

FORMAT: Literal[1] = 1
MAX_CAMERAS = 1000
# Fewer people do not show how much people differ, however many pictures there are of each.
LEAST_PEOPLE = 10
CAMERA = r"[A-Za-z0-9._:@-]{1,64}"
CameraName = Annotated[str, StringConstraints(pattern=rf"^{CAMERA}$")]
Text = Annotated[str, Field(max_length=2000)]


class CameraThresholds(Strict):
    """Operating points by pair of conditions, of probes of one camera; `camera` None for those of all."""

    camera: CameraName | None
    pairs: Annotated[tuple[PairPoints, ...], Field(min_length=1, max_length=len(PAIRS))]

    @model_validator(mode="after")
    def _once(self) -> CameraThresholds:
        pairs = [points.pair for points in self.pairs]
        if len(pairs) != len(set(pairs)):
            raise ValueError("a pair of conditions stands once at most for each camera")
        return self


class ThresholdTable(Strict):
    """Thresholds of one embedding space by camera. `data`: what they were measured on, for people. `cohort`:
    the id of what the scores were relative to; null for cosines."""

    format: Literal[1] = FORMAT
    space_id: Annotated[str, Field(max_length=64)]
    made_at: Annotated[str, Field(max_length=64)]
    data: Text
    cameras: Annotated[tuple[CameraThresholds, ...], Field(max_length=MAX_CAMERAS)]
    cohort: Annotated[str, Field(max_length=64)] | None = None

    @model_validator(mode="after")
    def _once(self) -> ThresholdTable:
        names = [one.camera for one in self.cameras]
        if len(names) != len(set(names)):
            raise ValueError("a camera stands once at most")
        return self

    def pairs_of(self, camera: str | None) -> dict[Pair, PairPoints]:
        """The points of exactly this camera."""
        return {p.pair: p for one in self.cameras if one.camera == camera for p in one.pairs}
