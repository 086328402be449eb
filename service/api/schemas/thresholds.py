"""Wire types of /admin/thresholds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from faces.calibration import Fmr
from faces.strict import Flag
from service.api.schemas.base import Wire
from service.spaces.space import EmbeddingSpace
from service.spaces.threshold_admin import Installation, VersionView, tables_in_force
from service.spaces.threshold_table import CameraThresholds, ThresholdTable

EVALUATION = "halflight-evaluation"


def _of_evaluation(given: Any) -> Any:
    """The table of a whole `evaluation.json`; anything else as it is."""
    if isinstance(given, dict) and given.get("kind") == EVALUATION:
        return given.get("thresholds")
    return given


GivenTable = Annotated[ThresholdTable, BeforeValidator(_of_evaluation)]


class InstallIn(Wire):
    """`thresholds`: the content of `thresholds.json` or of `evaluation.json`, as `halflight evaluate` writes
    them.

    `replace`: forget what the version in force has for other cameras and pairs of conditions. `activate`: put
    it in force at once. `default_fmr`: of answers that ask for none, for all pairs; null leaves it as it is.
    """

    thresholds: GivenTable
    note: Annotated[str, Field(max_length=500)] = ""
    replace: Flag = False
    activate: Flag = True
    default_fmr: Annotated[Fmr, Field(strict=True)] | None = None

    def asked(self) -> Installation:
        return Installation(
            table=self.thresholds,
            note=self.note,
            replace=self.replace,
            activate=self.activate,
            default_fmr=self.default_fmr,
        )


class VersionOut(Wire):
    """A version of installed thresholds. `active`: it decides in its space. `usable`: its space is the active
    one and its scores are those of the bundle; versions of another model's space, or for scores that are
    relative to another cohort or to none, are kept and not used."""

    version: int
    space_id: str
    active: bool
    usable: bool
    default_fmr: float | None
    note: str
    created_at: str
    created_by: str
    thresholds: ThresholdTable

    @classmethod
    def of(cls, view: VersionView, space: EmbeddingSpace) -> VersionOut:
        record, here = view.record, view.record.space_id == space.space_id
        scores = not here or view.table.cohort == space.cohort_id
        return cls(
            version=record.version,
            space_id=record.space_id,
            active=view.active and scores,
            usable=here and scores,
            default_fmr=record.default_fmr,
            note=record.note,
            created_at=record.created_at.isoformat(),
            created_by=record.actor,
            thresholds=view.table,
        )


class SetAsideOut(Wire):
    version: int
    why: str


class ThresholdsOut(Wire):
    """What the active space decides by, and every version. `cohort`: the id of what scores are relative to,
    null where they are cosines. `set_aside`: the version that was put in force and cannot decide, why, and
    what to do.

    `active`: the version in force, null for the bundle's own thresholds. `in_force`: every pair's points, for
    probes without a camera of their own (`camera` null) and for each camera that has its own.
    """

    space_id: str
    active: int | None
    calibration_id: str
    bundle_calibration_id: str
    default_fmr: float
    duplicate_fmr: float
    cohort: str | None
    set_aside: SetAsideOut | None
    in_force: list[CameraThresholds]
    thresholds: list[VersionOut]
    next_cursor: str | None

    @classmethod
    def of(cls, space: EmbeddingSpace, views: list[VersionView]) -> ThresholdsOut:
        in_force = space.thresholds
        calibration, aside = in_force.of(None).calibration, in_force.set_aside
        return cls(
            space_id=space.space_id,
            active=in_force.version,
            calibration_id=calibration.id,
            bundle_calibration_id=in_force.bundle.id,
            default_fmr=calibration.default_fmr,
            duplicate_fmr=calibration.duplicate_fmr,
            cohort=space.cohort_id,
            set_aside=None if aside is None else SetAsideOut(version=aside.version, why=aside.why),
            in_force=tables_in_force(in_force),
            thresholds=[VersionOut.of(view, space) for view in views],
            next_cursor=None,
        )
