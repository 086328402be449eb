"""Reads the calibration of a manifest of format 1: four conditions of probes, each against clear visible
references. Every other pair of conditions is uncalibrated."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError

from faces.calibration import Calibration, Fmr, OperatingPoint, PairPoints, Rate
from faces.strict import Strict, strip_prefix
from faces.types import CONDITIONS, Condition, Spectrum


class _Point(Strict):
    fmr: Fmr
    threshold: Annotated[float, Field(ge=-1, le=1)]
    fmr_upper: Annotated[float, Field(gt=0, le=1)]
    fnmr: Rate


class _ConditionPoints(Strict):
    spectrum: Spectrum
    masked: bool
    subjects: int
    mated: Annotated[int, Field(gt=0)]
    non_mated: int
    points: tuple[_Point, ...]


class _Calibration(Strict):
    """`worst`, the strictest of all conditions, is not needed: the service takes the strictest itself."""

    data: str
    synthetic: str
    command: str
    date: str
    default_fmr: float
    duplicate_fmr: float
    conditions: tuple[_ConditionPoints, ...]
    worst: tuple[_Point, ...] = ()


def upgraded(manifest: dict[str, Any]) -> dict[str, Any]:
    """A parsed manifest of format 1 as one of format 2; others are returned as they are.

    Raises ValueError if the calibration is none of format 1.
    """
    if manifest.get("format") != 1:
        return manifest
    calibration = manifest.get("calibration")
    if calibration is not None:
        try:
            calibration = _pairs(_Calibration.model_validate(calibration)).model_dump(mode="json")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in ("calibration", *first["loc"]))
            raise ValueError(f"{where}: {strip_prefix(first['msg'])}") from error
    return manifest | {"format": 2, "calibration": calibration}


def _pairs(old: _Calibration) -> Calibration:
    return Calibration(
        data=old.data,
        synthetic=old.synthetic,
        command=old.command,
        date=old.date,
        default_fmr=old.default_fmr,
        duplicate_fmr=old.duplicate_fmr,
        pairs=tuple(
            PairPoints(
                reference=CONDITIONS[0],
                probe=Condition(one.spectrum, one.masked),
                subjects=one.subjects,
                mated=one.mated,
                non_mated=one.non_mated,
                points=tuple(OperatingPoint(**point.model_dump()) for point in one.points),
            )
            for one in old.conditions
        ),
    )
