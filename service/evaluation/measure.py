"""Compares what was described: figures by pair of conditions and by camera, thresholds, mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from faces.calibration import PairPoints
from faces.cohort import scored
from faces.rates.scores import Comparison, Ids, Side, Vectors
from faces.rates.tail import tail_of_comparison
from faces.types import CONDITIONS, PAIRS, Condition, Pair, Role
from service.evaluation.described import Described, Reason, Template
from service.evaluation.figures import (
    Acquisition,
    Against,
    LostPhoto,
    Mistake,
    OtherwiseSeen,
    PairFigures,
    SiteEvaluation,
)
from service.evaluation.labelled import LabelledPhoto
from service.evaluation.mistakes import mistakes_of
from service.evaluation.points import FMR_POINTS, site_points
from service.evaluation.rates import det_points, histogram, point_figures, rate_over_subjects
from service.evaluation.searching import identification_of

# Points by pair of conditions; None asks for the thresholds of every camera.
ThresholdsOf = Callable[[str | None], Mapping[Pair, PairPoints]]
# A camera's probes have figures of their own from this many subjects on.
LEAST_SUBJECTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the service says of itself. `in_force`: its thresholds, `default_fmr`: where it decides.

    `against`: whose the references are, the set's own or those of the enrolled gallery.
    """

    space_id: str
    bundle: str = ""
    gallery_templates: int | None = None
    default_fmr: float | None = None
    in_force: ThresholdsOf = lambda _camera: {}
    fmr_points: tuple[float, ...] = FMR_POINTS
    against: Against = "set"


class NothingToCompare(ValueError):
    """There is no template on one of the two sides; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted:
    """The photos of one side. `condition`: as the service saw it, or as it is assumed of a lost photo."""

    one: Described
    number: int
    condition: Condition

    @property
    def template(self) -> Template | None:
        return self.one.found if isinstance(self.one.found, Template) else None


class Bench:
    """Every photo that counts, sorted by side, condition and camera. Broken files count nowhere."""

    def __init__(self, found: Sequence[Described]) -> None:
        numbers = {name: i for i, name in enumerate(sorted({one.photo.subject for one in found}))}
        counting = [one for one in found if not (isinstance(one.found, Reason) and one.found.broken)]
        self.names = {i: name for name, i in numbers.items()}
        self.photos = {_source(one): one.photo for one in counting}
        assumed = _assumed_conditions(counting)
        rows = [_Sorted(one, numbers[one.photo.subject], assumed[id(one)]) for one in counting]
        self._references = [row for row in rows if row.one.photo.role is Role.REFERENCE]
        self._probes = [row for row in rows if row.one.photo.role is Role.PROBE]
        cohorts = {row.template.cohort for row in rows if row.template is not None}
        if len(cohorts) > 1:
            raise NothingToCompare(
                "some templates were made while the service scored by another bundle: remove the kept ones"
                " and evaluate again"
            )
        self.cohort = next(iter(cohorts), None)
        for side, kept in (("reference", self._references), ("probe", self._probes)):
            if not any(row.template for row in kept):
                raise NothingToCompare(f"no {side} gave a template: the list of failures says why")

    @property
    def cameras(self) -> list[str | None]:
        """None for all probes, then each camera that has enough of them, by name."""
        subjects: dict[str, set[int]] = {}
        for row in self._probes:
            if row.one.photo.camera is not None and row.template is not None:
                subjects.setdefault(row.one.photo.camera, set()).add(row.number)
        return [None, *sorted(name for name, people in subjects.items() if len(people) >= LEAST_SUBJECTS)]

    def probe_conditions(self, camera: str | None) -> list[Condition]:
        return [c for c in CONDITIONS if any(row.template for row in self._of(camera, c))]

    def compare(self, camera: str | None, pair: Pair) -> Comparison | None:
        """The templates of both sides; None if one has none."""
        probes = self._of(camera, pair.probe)
        references = [row for row in self._references if row.condition == pair.reference]
        return _comparison(probes, references)

    def search(self, camera: str | None, probe: Condition) -> tuple[Comparison, tuple[Condition, ...]]:
        """Probes of one condition against all references, and the condition of each reference's template."""
        found = _comparison(self._of(camera, probe), self._references)
        assert found is not None  # noqa: S101 - asked of conditions that have probes alone
        return found, tuple(row.condition for row in self._references if row.template is not None)

    def _of(self, camera: str | None, probe: Condition) -> list[_Sorted]:
        return [
            row for row in self._probes if row.condition == probe and camera in (None, row.one.photo.camera)
        ]


def _source(one: Described) -> str:
    return f"{one.photo.role.value}:{one.photo.name}"


def _comparison(probes: Sequence[_Sorted], references: Sequence[_Sorted]) -> Comparison | None:
    if not any(row.template for row in probes) or not any(row.template for row in references):
        return None
    return Comparison(_side(probes), _side(references), _given(probes, references))


def _given(probes: Sequence[_Sorted], references: Sequence[_Sorted]) -> Vectors | None:
    """The scores by a cohort, float32 [probes, references]; None where scores are cosines."""
    of_probes = [row.template for row in probes if row.template is not None]
    of_references = [row.template for row in references if row.template is not None]
    if of_probes[0].cohort is None:
        return None
    cosines = np.stack([one.vector for one in of_probes]) @ np.stack([one.vector for one in of_references]).T
    conditions = [one.condition for one in of_references]
    taken = np.array([[one.taken[c] for c in conditions] for one in of_probes], np.float32)
    # All probes of a comparison are of one condition.
    probe = of_probes[0].condition
    return scored(cosines - taken, np.zeros(len(of_probes), np.float32),
                  np.array([one.taken[probe] for one in of_references], np.float32))  # fmt: skip


def _side(rows: Sequence[_Sorted]) -> Side:
    good = [(row, row.template) for row in rows if row.template is not None]
    return Side(
        np.stack([template.vector for _, template in good]).astype(np.float32),
        np.array([row.number for row, _ in good], np.int64),
        tuple(_source(row.one) for row, _ in good),
        np.array([row.number for row in rows if row.template is None], np.int64),
    )


def _assumed_conditions(found: Sequence[Described]) -> dict[int, Condition]:
    """The condition of each photo: as the service saw it. A photo without a template takes what its label
    says, and for the rest what most photos of its side and camera are."""
    seen: Counter[tuple[Role, str | None, Condition]] = Counter()
    for one in found:
        if isinstance(one.found, Template):
            for camera in {None, one.photo.camera}:
                seen[one.photo.role, camera, one.found.condition] += 1

    def assumed(photo: LabelledPhoto) -> Condition:
        fits = [c for c in CONDITIONS if _may_be(photo, c)]
        for camera in (photo.camera, None):
            likely = max(fits, key=lambda c: seen[photo.role, camera, c])
            if seen[photo.role, camera, likely]:
                return likely
        return fits[0]

    return {id(one): one.found.condition if isinstance(one.found, Template) else assumed(one.photo)
            for one in found}  # fmt: skip


def _may_be(photo: LabelledPhoto, condition: Condition) -> bool:
    spectrum = photo.spectrum is None or photo.spectrum is condition.spectrum
    return spectrum and (photo.masked is None or photo.masked is condition.masked)


def measure(found: Sequence[Described], setting: Setting) -> SiteEvaluation:
    """Returns every figure. Raises NothingToCompare."""
    bench = Bench(found)
    cameras = bench.cameras
    pairs = [
        figures
        for camera in cameras
        for pair in PAIRS
        if (figures := _pair(bench, camera, pair, setting)) is not None
    ]
    suggested = {(one.camera, one.pair): one.points for one in pairs if one.points is not None}
    identification = [
        identification_of(bench, camera, condition, setting, suggested)
        for camera in cameras
        for condition in bench.probe_conditions(camera)
    ]
    return SiteEvaluation(
        space_id=setting.space_id,
        bundle=setting.bundle,
        gallery_templates=setting.gallery_templates,
        default_fmr=setting.default_fmr,
        against=setting.against,
        cohort=bench.cohort,
        subjects=len(bench.names),
        references=sum(one.photo.role is Role.REFERENCE for one in found),
        probes=sum(one.photo.role is Role.PROBE for one in found),
        acquisition=_acquisition(found, cameras, setting.against),
        lost=_lost(found),
        otherwise_seen=_otherwise_seen(found),
        pairs=tuple(pairs),
        identification=tuple(identification),
        mistakes=_mistakes(bench, pairs, setting),
    )


def _pair(bench: Bench, camera: str | None, pair: Pair, setting: Setting) -> PairFigures | None:
    comparison = bench.compare(camera, pair)
    if comparison is None or comparison.mated.all():
        return None
    tail, lost = tail_of_comparison(comparison), lost_mates(comparison)
    site = site_points(pair, comparison, fmr_points=setting.fmr_points, failed=len(lost))
    known = setting.in_force(camera).get(pair)
    return PairFigures(
        camera=camera,
        pair=pair,
        coverage=site.coverage,
        mated=int(comparison.mated.sum()) + len(lost),
        failed=len(lost),
        suggested=tuple(
            point_figures(comparison, tail, lost, point)
            for point in (site.found.points if site.found else ())
        ),
        in_force=tuple(
            point_figures(comparison, tail, lost, point) for point in (known.points if known else ())
        ),
        det=det_points(comparison, len(lost)),
        histogram=histogram(comparison),
        points=site.found,
    )


def lost_mates(comparison: Comparison) -> Ids:
    """The subject of each mated comparison that a failed probe prevented: it would have met the references of
    its subject that have templates."""
    references = Counter(comparison.gallery.subjects.tolist())
    lost = [n for n in comparison.probes.failed.tolist() for _ in range(references[n])]
    return np.array(lost, np.int64)


def _mistakes(bench: Bench, pairs: Sequence[PairFigures], setting: Setting) -> tuple[Mistake, ...]:
    found: list[Mistake] = []
    for one in pairs:
        if one.camera is not None:
            continue
        comparison = bench.compare(None, one.pair)
        assert comparison is not None  # noqa: S101 - it has figures
        limit = next((p.threshold for p in one.in_force if p.fmr == setting.default_fmr), None)
        found += mistakes_of(comparison, one.pair, limit, bench.photos)
    return tuple(found)


def _acquisition(
    found: Sequence[Described], cameras: Sequence[str | None], against: Against
) -> tuple[Acquisition, ...]:
    # Whoever failed to enrol is not in the gallery.
    references = [(Role.REFERENCE, None)] if against == "set" else []
    wanted = [*references, *((Role.PROBE, camera) for camera in cameras)]
    return tuple(_acquired(found, role, camera) for role, camera in wanted)


def _acquired(found: Sequence[Described], role: Role, camera: str | None) -> Acquisition:
    mine = [one for one in found if one.photo.role is role and camera in (None, one.photo.camera)]
    tried = [one for one in mine if not (isinstance(one.found, Reason) and one.found.broken)]
    numbers = {name: i for i, name in enumerate(sorted({one.photo.subject for one in tried}))}
    failed = np.array([isinstance(one.found, Reason) for one in tried], bool)
    subjects = np.array([numbers[one.photo.subject] for one in tried], np.int64)
    return Acquisition(
        role=role,
        camera=camera,
        attempts=len(tried),
        failed=int(failed.sum()),
        rate=rate_over_subjects(subjects, failed),
        broken=len(mine) - len(tried),
        subjects=len(numbers),
        subjects_lost=len(numbers) - len(set(subjects[~failed].tolist())),
    )


def _lost(found: Sequence[Described]) -> tuple[LostPhoto, ...]:
    return tuple(
        LostPhoto(
            name=one.photo.name,
            subject=one.photo.subject,
            role=one.photo.role,
            camera=one.photo.camera,
            code=one.found.code,
            detail=one.found.detail,
            broken=one.found.broken,
        )
        for one in found
        if isinstance(one.found, Reason)
    )


def _otherwise_seen(found: Sequence[Described]) -> tuple[OtherwiseSeen, ...]:
    odd = []
    for one in found:
        photo, template = one.photo, one.found
        if isinstance(template, Template) and not _may_be(photo, template.condition):
            said = [photo.spectrum.value] if photo.spectrum is not None else []
            said += [] if photo.masked is None else ["masked" if photo.masked else "unmasked"]
            odd.append(OtherwiseSeen(photo.name, "-".join(said), str(template.condition)))
    return tuple(odd)
