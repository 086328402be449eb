"""The thresholds that a space decides by: its bundle's, and over them what an administrator installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from faces.calibration import FMR_RELATIVE_TOLERANCE, Calibration, OperatingPoint, PairPoints
from faces.types import PAIRS, Pair
from service.spaces.threshold_table import ThresholdTable


@dataclass(frozen=True, slots=True)
class Origin:
    """Which installed version set a threshold, and for which camera's probes; None for those of all."""

    version: int
    camera: str | None

    def __str__(self) -> str:
        return f"version {self.version}" + ("" if self.camera is None else f", camera {self.camera}")


Origins = Mapping[tuple[Pair, float], Origin]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The table that requests of one camera, or of none, decide by. `origins`: of installed points only."""

    calibration: Calibration
    origins: Origins


@dataclass(frozen=True, slots=True)
class Installed:
    """A version that is in force. `default_fmr`: of answers that ask for none, None for the bundle's."""

    version: int
    table: ThresholdTable
    default_fmr: float | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A version that was put in force and does not decide: `why`, and what to do about it."""

    version: int
    why: str


class InForce:
    """The thresholds of a space by camera, made once: a request takes one of them for all its decisions."""

    def __init__(
        self, bundle: Calibration, installed: Installed | None = None, *, set_aside: SetAside | None = None
    ) -> None:
        """`set_aside`: what was put in force and cannot decide under this bundle."""
        self.bundle, self.installed, self.set_aside = bundle, installed, set_aside
        self._all = Thresholds(bundle, {})
        self._cameras: dict[str, Thresholds] = {}
        if installed is None:
            return
        if installed.default_fmr is not None:
            changed = bundle.model_copy(update={"default_fmr": installed.default_fmr})
            self._all = Thresholds(changed, {})
        self._all = _overlaid(self._all, installed.table.pairs_of(None), Origin(installed.version, None))
        for one in installed.table.cameras:
            if one.camera is not None:
                origin = Origin(installed.version, one.camera)
                self._cameras[one.camera] = _overlaid(self._all, installed.table.pairs_of(one.camera), origin)

    @property
    def version(self) -> int | None:
        """None where the bundle's own thresholds count."""
        return None if self.installed is None else self.installed.version

    @property
    def asked(self) -> int | None:
        """The version that was put in force, whether it can decide or not."""
        return self.version if self.set_aside is None else self.set_aside.version

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras with thresholds of their own."""
        return tuple(self._cameras)

    def of(self, camera: str | None) -> Thresholds:
        """Those of the camera; where it has none of its own, those of all."""
        return self._all if camera is None else self._cameras.get(camera, self._all)


def _overlaid(base: Thresholds, installed: Mapping[Pair, PairPoints], origin: Origin) -> Thresholds:
    """The base with the installed points in place of its own.

    Points of the base at other FMRs stay, but never looser than an installed point of a looser FMR, and never
    stricter than one of a stricter FMR: a stricter FMR must not have a lower threshold.
    """
    if not installed:
        return base
    calibration, origins = base.calibration, dict(base.origins)
    pairs = []
    for pair in PAIRS:
        known = calibration.points(pair) if calibration.has(pair) else ()
        mine = installed.get(pair)
        if mine is None:
            pairs += [points for points in calibration.pairs if points.pair == pair]
            continue
        merged, changed = _merged(known, mine.points, str(origin))
        if not _has(merged, calibration.default_fmr) or not _has(merged, calibration.duplicate_fmr):
            # The bundle has no threshold for this pair, and the installed ones do not reach its default.
            continue
        pairs.append(mine.model_copy(update={"points": merged}))
        origins |= {(pair, fmr): origin for fmr in changed}
    made = Calibration.model_validate(calibration.model_copy(update={"pairs": tuple(pairs)}).model_dump())
    return Thresholds(made, origins)


def _has(points: Sequence[OperatingPoint], fmr: float) -> bool:
    return any(same_fmr(point.fmr, fmr) for point in points)


def same_fmr(one: float, other: float) -> bool:
    return abs(one - other) <= FMR_RELATIVE_TOLERANCE * max(one, other)


def _merged(
    known: Sequence[OperatingPoint], installed: Sequence[OperatingPoint], name: str
) -> tuple[tuple[OperatingPoint, ...], list[float]]:
    """The points of both, loosest first, and the FMRs whose threshold the installed ones set."""
    points = [point.model_copy(update={"set_by": name, "own": None, "groups": ()}) for point in installed]
    changed = [point.fmr for point in points]
    for point in known:
        if _has(installed, point.fmr):
            continue
        looser = [one for one in installed if one.fmr > point.fmr]
        stricter = [one for one in installed if one.fmr < point.fmr]
        least = max(looser, key=lambda one: one.threshold, default=None)
        most = min(stricter, key=lambda one: one.threshold, default=None)
        limit = None
        if least is not None and point.threshold < least.threshold:
            limit = least
        elif most is not None and point.threshold > most.threshold:
            limit = most
        if limit is not None:
            # The site has seen what this threshold does: its bound counts, if it is the larger one.
            upper = max(point.fmr_upper, limit.fmr_upper)
            update = {"threshold": limit.threshold, "fmr_upper": upper, "fnmr": limit.fnmr}
            point = point.model_copy(update=update | {"set_by": name, "own": None, "groups": ()})
            changed.append(point.fmr)
        points.append(point)
    return tuple(sorted(points, key=lambda point: -point.fmr)), changed
