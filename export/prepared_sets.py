"""Calibrates thresholds on prepared sets, for every pair of conditions that they have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.calibrate import Measured, make_calibration
from export.cohort_people import Scale, left_out
from export.kept_templates import OnEmbedded, SetTemplates
from export.operating_points import FMR_POINTS, Mated, Unsupported, supported
from faces.calibration import Calibration
from faces.cohort import Cohort
from faces.cohort_spec import CohortSpec
from faces.rates.tail import Impostors
from faces.types import CONDITIONS, PAIRS, Condition, Pair, Role
from training.data.prepared import PreparedSet, Row, Split
from training.evaluation.evaluate import synthetic_parts
from training.networks.onnx_encoders import BundleEncoder

# More probes of one subject add little: the number of subjects limits a threshold.
PROBES_PER_SUBJECT = 4
CLEAR = CONDITIONS[0]


@dataclass(frozen=True, slots=True)
class Probe:
    """A row that is compared with the references: `column` is its subject's. `mated`: it is another photo
    than the subject's reference."""

    row: int
    column: int
    mated: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of one set that are compared for a pair of conditions.

    `references`: one row for each subject; `failed`: how many probes with a mate gave no crop.
    """

    prepared: PreparedSet
    pair: Pair
    references: tuple[int, ...]
    probes: tuple[Probe, ...]
    failed: int

    @property
    def people(self) -> int:
        return len({probe.column for probe in self.probes})

    @property
    def wanted(self) -> list[tuple[int, Role]]:
        """The rows to embed, each with the side that it is on."""
        rows = [(row, Role.REFERENCE) for row in self.references]
        return rows + [(probe.row, Role.PROBE) for probe in self.probes]


def plan_of(
    prepared: PreparedSet, splits: Sequence[Split], pair: Pair, *, left_out: Collection[str] = ()
) -> Plan:
    """Chooses references and probes of the splits. `left_out`: subjects that take no part.

    A probe is another photo than the reference; a subject without another one gives a version of the same
    photo, which makes non-mated comparisons alone.
    """
    mine = [i for i, row in enumerate(prepared.rows) if row.split in splits and row.subject not in left_out]
    references = _references(prepared, mine, pair.reference)
    column = {subject: place for place, subject in enumerate(references)}
    others: dict[str, list[int]] = defaultdict(list)
    same: dict[str, int] = {}
    for i in mine:
        row = prepared.rows[i]
        if row.condition != pair.probe or row.subject not in column:
            continue
        if row.source == prepared.rows[references[row.subject]].source:
            same.setdefault(row.subject, i)
        elif row.role != "gallery":
            others[row.subject].append(i)
    probes = [Probe(i, column[s], True) for s, rows in others.items() for i in rows[:PROBES_PER_SUBJECT]]
    probes += [Probe(i, column[s], False) for s, i in same.items() if s not in others]
    failed = sum(
        lost.split in splits
        and lost.role != "gallery"
        and Condition(lost.spectrum, lost.masked) == pair.probe
        and lost.subject in column
        for lost in prepared.refused
    )
    return Plan(prepared, pair, tuple(references.values()), tuple(probes), failed if others else 0)


def _references(prepared: PreparedSet, rows: Sequence[int], condition: Condition) -> dict[str, int]:
    """A row of each subject: its row in the gallery, or its first. Where people are not enrolled so, a
    probe's row stands for one: another person's probe does not know the difference."""
    roles = ("gallery", "none") if condition == CLEAR else ("gallery", "none", "probe")
    found: dict[str, int] = {}
    for wanted in roles:
        for i in rows:
            row = prepared.rows[i]
            if row.role == wanted and row.condition == condition:
                found.setdefault(row.subject, i)
    return found


def plans_of(
    sets: Sequence[PreparedSet], splits: Sequence[Split], cohort: CohortSpec | None = None
) -> dict[Pair, list[Plan]]:
    """The plans of each pair that some set has comparisons for, that with most people first.

    People whom the `cohort` was drawn from take no part: scores are relative to them.
    """
    out = [left_out(prepared, cohort) for prepared in sets]
    plans = {
        pair: [
            plan_of(prepared, splits, pair, left_out=them) for prepared, them in zip(sets, out, strict=True)
        ]
        for pair in PAIRS
    }
    useful = {pair: [plan for plan in found if plan.people > 1] for pair, found in plans.items()}
    return {pair: sorted(found, key=lambda plan: -plan.people) for pair, found in useful.items() if found}


def check_support(
    sets: Sequence[PreparedSet],
    splits: Sequence[Split],
    *,
    targets: Sequence[float] = FMR_POINTS,
    keep_others: bool = False,
    cohort: CohortSpec | None = None,
) -> None:
    """Raises Unsupported if the sets have too few subjects for a threshold against clear visible references.

    With `keep_others` it raises that for any pair that the sets have, and if they have none. It embeds
    nothing, so it is cheap.
    """
    plans = plans_of(sets, splits, cohort)
    if keep_others:
        if not plans:
            named = ", ".join(prepared.info.name for prepared in sets)
            raise Unsupported(f"{named}: no two people to compare in the split {' or '.join(splits)}")
        for pair, found in plans.items():
            supported(pair, found[0].people, targets)
        return
    missing = [str(probe) for probe in CONDITIONS if Pair.with_clear_reference(probe) not in plans]
    if missing:
        named = ", ".join(prepared.info.name for prepared in sets)
        raise Unsupported(f"{named}: no probes of {', '.join(missing)} in the split {' or '.join(splits)}")
    for probe in CONDITIONS:
        pair = Pair.with_clear_reference(probe)
        supported(pair, plans[pair][0].people, targets)


def impostors_of(plan: Plan, templates: SetTemplates, cohort: Cohort | None = None) -> Impostors:
    """The comparisons of different people."""
    probes = templates.templates([probe.row for probe in plan.probes], Role.PROBE)
    references = templates.templates(plan.references, Role.REFERENCE)
    taken = None
    if cohort is not None:
        taken = (
            cohort.taken(probes, Role.PROBE, plan.pair),
            cohort.taken(references, Role.REFERENCE, plan.pair),
        )
    return Impostors(
        probes,
        references,
        np.array([probe.column for probe in plan.probes], np.intp),
        tuple(plan.prepared.rows[row].group for row in plan.references),
        taken,
    )


def mated_of(plan: Plan, templates: SetTemplates, cohort: Cohort | None = None) -> Mated:
    """The comparisons with another photo of the same person."""
    pairs = [(probe.row, plan.references[probe.column]) for probe in plan.probes if probe.mated]
    if not pairs:
        return Mated(failed=plan.failed)
    probes = templates.templates([row for row, _ in pairs], Role.PROBE)
    references = templates.templates([row for _, row in pairs], Role.REFERENCE)
    scores = np.einsum("ij,ij->i", probes, references)
    if cohort is not None:
        scores -= cohort.taken(probes, Role.PROBE, plan.pair)
        scores -= cohort.taken(references, Role.REFERENCE, plan.pair)
    return Mated(np.clip(scores, -1.0, 1.0), plan.failed)


def calibrate(
    root: Path,
    sets: Sequence[PreparedSet],
    splits: Sequence[Split],
    *,
    command: str,
    targets: Sequence[float] = FMR_POINTS,
    track: Callable[[int], OnEmbedded] = lambda _: lambda _: None,
    kept: Path | None = None,
    report_progress: Callable[[str], None] = lambda _: None,
    others: Calibration | None = None,
    scale: Scale | None = None,
) -> Calibration:
    """Calibrates the bundle in `root`: impostors of each pair from the set with most people for it, mated
    comparisons from every set that has some; pairs that no set has keep the points of `others`.

    Sets are never mixed in one comparison, because one subject may have two names. `kept`: a folder that
    keeps the templates. `scale`: scores are by its cohort; None for plain cosines. Raises Unsupported or
    DataSetError.
    """
    encoder = BundleEncoder(root)
    spec, cohort = (None, None) if scale is None else (scale.spec, scale.cohort)
    plans = plans_of(sets, splits, spec)
    templates = {id(one): SetTemplates(encoder, one, kept) for one in sets}
    wanted = {
        id(one): {w for found in plans.values() for p in found if p.prepared is one for w in p.wanted}
        for one in sets
    }
    on_done = track(sum(map(len, wanted.values())))
    for one in sets:
        templates[id(one)].embed(sorted(wanted[id(one)]), on_done)

    def measure(pair: Pair) -> Measured | None:
        found = plans.get(pair)
        if found is None:
            return None
        mated = [mated_of(plan, templates[id(plan.prepared)], cohort) for plan in found]
        impostors = impostors_of(found[0], templates[id(found[0].prepared)], cohort)
        return Measured(impostors, sum(mated, Mated()))

    return make_calibration(
        measure,
        data=_described(plans, splits),
        synthetic=_synthetic(sets, splits),
        command=command,
        targets=targets,
        report_progress=report_progress,
        others=others,
        cohort=spec,
    )


def _described(plans: dict[Pair, list[Plan]], splits: Sequence[Split]) -> str:
    impostors: dict[str, list[Plan]] = defaultdict(list)
    mated: dict[str, None] = {}
    for found in plans.values():
        impostors[found[0].prepared.info.name].append(found[0])
        with_mates = [plan for plan in found if any(probe.mated for probe in plan.probes)]
        mated |= dict.fromkeys(plan.prepared.info.name for plan in with_mates)
    parts = [
        f"impostors of {len(used)} pairs of conditions from {name}"
        f" ({min(p.people for p in used)} to {max(p.people for p in used)} people)"
        for name, used in impostors.items()
    ]
    return f"{'; '.join(parts)}; mated from {', '.join(mated) or 'none'}; split {' and '.join(splits)}"


def _synthetic(sets: Iterable[PreparedSet], splits: Sequence[Split]) -> str:
    said: dict[str, None] = {}
    for prepared in sets:
        rows: list[Row] = [row for row in prepared.rows if row.split in splits]
        said |= dict.fromkeys(f"{prepared.info.name}: {part}" for part in synthetic_parts(prepared, rows))
    return "; ".join(said) or "nothing"
