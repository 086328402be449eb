"""Wire types of /admin/thresholds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from faces.calibration import Fmr
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
    replace: bool = False
    activate: bool = True
    default_fmr: Fmr | None = None

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
    one; versions of another model's space are kept and not used."""

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
    def of(cls, view: VersionView, space_id: str) -> VersionOut:
        record = view.record
        return cls(
            version=record.version,
            space_id=record.space_id,
            active=view.active,
            usable=record.space_id == space_id,
            default_fmr=record.default_fmr,
            note=record.note,
            created_at=record.created_at.isoformat(),
            created_by=record.actor,
            thresholds=view.table,
        )


class ThresholdsOut(Wire):
    """What the active space decides by, and every version.

    `active`: the version in force, null for the bundle's own thresholds. `in_force`: every pair's points, for
    probes without a camera of their own (`camera` null) and for each camera that has its own.
    """

    space_id: str
    active: int | None
    calibration_id: str
    bundle_calibration_id: str
    default_fmr: float
    duplicate_fmr: float
    in_force: list[CameraThresholds]
    thresholds: list[VersionOut]
    next_cursor: str | None

    @classmethod
    def of(cls, space: EmbeddingSpace, views: list[VersionView]) -> ThresholdsOut:
        in_force = space.thresholds
        calibration = in_force.of(None).calibration
        return cls(
            space_id=space.space_id,
            active=in_force.version,
            calibration_id=calibration.id,
            bundle_calibration_id=in_force.bundle.id,
            default_fmr=calibration.default_fmr,
            duplicate_fmr=calibration.duplicate_fmr,
            in_force=tables_in_force(in_force),
            thresholds=[VersionOut.of(view, space.space_id) for view in views],
            next_cursor=None,
        )
