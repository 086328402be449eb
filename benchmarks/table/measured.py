"""Measures everything that the table says of a bundle, and compares it with the first bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.table.answers import Answers
from benchmarks.table.figures import (
    BootstrapFigure,
    bootstrap_weights,
    difference,
    fmr_at,
    rank1,
    scored,
    seen_as,
    tar_at,
    tar_with,
)
from benchmarks.table.photos import Subject
from benchmarks.table.probes import Probe
from benchmarks.table.rows import (
    BundleMeasurement,
    ConditionRow,
    GroupRow,
    MaskedPhotos,
    Rate,
    Threshold,
)
from faces.bundle import Bundle
from faces.rates.intervals import clopper_pearson
from faces.rates.rank1 import SubjectCounts, paired_difference, success_rate
from faces.types import CONDITIONS, Condition, Pair

TAR_FMR = 1e-3


@dataclass(slots=True)
class _Baseline:
    """The figures of the first bundle, by their place in the table."""

    hits: dict[str, SubjectCounts] = field(default_factory=dict)
    drawn: dict[str, BootstrapFigure] = field(default_factory=dict)


class Measurer:
    """Measures bundles one after another and compares each with the first."""

    def __init__(
        self, subjects: Sequence[Subject], others: Sequence[Subject], probes: Sequence[Probe]
    ) -> None:
        self._subjects = [one.name for one in subjects]
        self._groups: dict[str, list[str]] = {}
        for one in others:
            self._groups.setdefault(one.group, []).append(one.name)
        self._probes = probes
        self._base: _Baseline | None = None

    def measure(
        self, bundle: Bundle, answers: Answers, *, photos: Sequence[str], fmr: float
    ) -> BundleMeasurement:
        """Measures one bundle. `photos`: keys of the answers to real masked photos.

        Raises UnsupportedFmr if the bundle has no threshold at `fmr`.
        """
        base, own = self._base, _Baseline()
        manifest = bundle.manifest
        draws = bootstrap_weights(len(self._subjects))
        conditions, thresholds = [], []
        for condition in CONDITIONS:
            mine = self._of(self._subjects, condition)
            data = scored(mine, answers, self._subjects)
            hits = rank1(mine, answers, self._subjects)
            tar = tar_at(data, TAR_FMR, draws)
            place = f"LFW {condition}"
            row = ConditionRow(
                condition=str(condition),
                probes=len(mine),
                rank1=_hits(place, hits, base, own),
                tar=_drawn(f"{place} TAR", tar, base, own),
                seen=seen_as(mine, answers.by_key),
            )
            conditions.append(row)
            assert manifest.calibration is not None
            point = manifest.calibration.at(Pair.with_clear_reference(condition), fmr)
            of = next(c for c in manifest.calibration.pairs if c.pair == Pair.with_clear_reference(condition))
            thresholds.append(
                Threshold(
                    condition=str(condition),
                    fmr=point.fmr,
                    threshold=point.threshold,
                    calibrated_on=of.subjects,
                    upper=point.fmr_upper,
                    observed=_rate(fmr_at(data, point.threshold, draws)),
                    served=_rate(fmr_at(data, None, draws)),
                    tar=_rate(tar_with(data, point.threshold, draws)),
                )
            )
        done = BundleMeasurement(
            name=manifest.name,
            version=manifest.version,
            space_id=manifest.space_id,
            dimension=manifest.encoder.dimension,
            subjects=len(self._subjects),
            not_enrolled=len(answers.not_enrolled & set(self._subjects)),
            conditions=tuple(conditions),
            thresholds=tuple(thresholds),
            groups=tuple(self._group_rows(bundle, answers, fmr, base, own)),
            photos=_photos(photos, answers, base, own) if photos else None,
        )
        self._base = base or own
        return done

    def _of(self, subjects: Sequence[str], condition: Condition) -> list[Probe]:
        wanted = set(subjects)
        return [p for p in self._probes if p.subject in wanted and p.made.condition == condition]

    def _group_rows(
        self, bundle: Bundle, answers: Answers, fmr: float, base: _Baseline | None, own: _Baseline
    ) -> list[GroupRow]:
        rows = []
        for group, subjects in self._groups.items():
            draws = bootstrap_weights(len(subjects))
            for condition in CONDITIONS:
                mine = self._of(subjects, condition)
                data = scored(mine, answers, subjects)
                assert bundle.manifest.calibration is not None
                limit = bundle.manifest.calibration.at(Pair.with_clear_reference(condition), fmr).threshold
                rows.append(
                    GroupRow(
                        group=group,
                        condition=str(condition),
                        subjects=len(subjects),
                        probes=len(mine),
                        rank1=_hits(f"{group} {condition}", rank1(mine, answers, subjects), base, own),
                        tar=_rate(tar_with(data, limit, draws)),
                        fmr=_rate(fmr_at(data, limit, draws)),
                    )
                )
        return rows


def _hits(place: str, hits: SubjectCounts, base: _Baseline | None, own: _Baseline) -> Rate:
    own.hits[place] = hits
    minus = None if base is None else paired_difference(hits, base.hits[place])
    return Rate(success_rate(hits), minus)


def _drawn(place: str, found: BootstrapFigure, base: _Baseline | None, own: _Baseline) -> Rate:
    own.drawn[place] = found
    minus = None if base is None else difference(found, base.drawn[place])
    exact = found.exact and (base is None or base.drawn[place].exact)
    return Rate(found.interval, minus, exact)


def _rate(found: BootstrapFigure) -> Rate:
    return Rate(found.interval, exact=found.exact)


def _photos(keys: Sequence[str], answers: Answers, base: _Baseline | None, own: _Baseline) -> MaskedPhotos:
    """Each photo is of another subject, so it is an independent trial."""
    found = [key for key in keys if answers.by_key[key].found]
    right = [key for key in found if answers.by_key[key].masked]

    def of_all(place: str, these: Sequence[str]) -> Rate:
        chosen = set(these)
        hits = np.array([key in chosen for key in keys], np.int64)
        every = np.arange(len(keys), dtype=np.int64)
        paired = _hits(place, SubjectCounts(every, hits, np.ones(len(keys), np.int64)), base, own)
        return Rate(clopper_pearson(len(these), len(keys)), paired.minus)

    return MaskedPhotos(
        photos=len(keys),
        found=of_all("photos found", found),
        right=of_all("photos right", right),
        right_of_found=Rate(clopper_pearson(len(right), max(1, len(found)))),
    )
