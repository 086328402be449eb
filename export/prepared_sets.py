"""Calibrates thresholds on prepared sets: embeds their rows and compares probes with references."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.calibrate import make_calibration
from export.operating_points import FMR_POINTS, Comparisons, Unsupported, supported
from faces.calibration import Calibration
from faces.types import CONDITIONS, Condition, Role, Spectrum
from training.data.prepared import PreparedSet, Row, Split
from training.data.records import DataSetError
from training.evaluation.evaluate import synthetic_parts
from training.networks.onnx_encoders import BundleEncoder

# More probes of one subject add little: the number of subjects limits a threshold.
PROBES_PER_SUBJECT = 4
OnEmbedded = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of one set that are compared.

    `references`: one for each subject; `probes`: by condition, row and column of the subject; `failed`: by
    condition, the column of the subject of each probe that gave no crop.
    """

    prepared: PreparedSet
    references: tuple[int, ...]
    probes: Mapping[Condition, tuple[tuple[int, int], ...]]
    failed: Mapping[Condition, tuple[int, ...]]

    @property
    def rows(self) -> int:
        """How many crops are embedded."""
        return len(self.references) + sum(map(len, self.probes.values()))


def plan_of(prepared: PreparedSet, splits: Sequence[Split]) -> Plan:
    """Chooses references and probes of the splits.

    A reference is an unmasked VIS row: the subject's row in the gallery, or its first. A probe is another
    photo than the reference; a subject without another one gives a version of the same photo, which makes
    non-mated comparisons alone.
    """
    mine = [i for i, row in enumerate(prepared.rows) if row.split in splits]
    references: dict[str, int] = {}
    for wanted in ("gallery", "none"):
        for i in mine:
            row = prepared.rows[i]
            if row.role == wanted and row.spectrum is Spectrum.VIS and not row.masked:
                references.setdefault(row.subject, i)
    column = {subject: place for place, subject in enumerate(references)}
    probes: dict[Condition, tuple[tuple[int, int], ...]] = {}
    failed: dict[Condition, tuple[int, ...]] = {}
    for condition in CONDITIONS:
        others: dict[str, list[int]] = defaultdict(list)
        same: dict[str, int] = {}
        for i in mine:
            row = prepared.rows[i]
            if row.condition != condition or row.subject not in column:
                continue
            if row.source == prepared.rows[references[row.subject]].source:
                same.setdefault(row.subject, i)
            elif row.role != "gallery":
                others[row.subject].append(i)
        found = [(i, column[s]) for s, rows in others.items() for i in rows[:PROBES_PER_SUBJECT]]
        # If every photo is its own reference, there is no mated comparison to calibrate on.
        if found:
            found += [(i, column[s]) for s, i in same.items() if s not in others]
            probes[condition] = tuple(found)
            failed[condition] = tuple(
                column[lost.subject]
                for lost in prepared.refused
                if lost.split in splits
                and lost.role != "gallery"
                and Condition(lost.spectrum, lost.masked) == condition
                and lost.subject in column
            )
    return Plan(prepared, tuple(references.values()), probes, failed)


def check_support(
    sets: Sequence[PreparedSet], splits: Sequence[Split], *, targets: Sequence[float] = FMR_POINTS
) -> None:
    """Raises Unsupported if the sets have too few subjects for a threshold of some condition.

    It embeds nothing, so it is cheap.
    """
    most = dict.fromkeys(CONDITIONS, 0)
    for prepared in sets:
        for condition, probes in plan_of(prepared, splits).probes.items():
            most[condition] = max(most[condition], len({column for _, column in probes}))
    missing = [str(condition) for condition, subjects in most.items() if not subjects]
    if missing:
        named = ", ".join(prepared.info.name for prepared in sets)
        raise Unsupported(f"{named}: no probes of {', '.join(missing)} in the split {' or '.join(splits)}")
    for condition, subjects in most.items():
        supported(condition, subjects, targets)


def compare(
    encoder: BundleEncoder, plan: Plan, *, on_done: OnEmbedded = lambda _: None
) -> dict[Condition, Comparisons]:
    """Compares every probe with every reference, each embedded by the encoder of its role.

    Raises DataSetError if the set is aligned to another template than the encoder's.
    """
    info = plan.prepared.info
    if info.alignment != encoder.alignment:
        raise DataSetError(
            f"{info.name} is aligned to {info.alignment}, the network wants {encoder.alignment}"
        )
    references = _embed(encoder, plan.prepared, plan.references, Role.REFERENCE, CONDITIONS[0], on_done)
    done = {}
    for condition, probes in plan.probes.items():
        indices = [i for i, _ in probes]
        scores = _embed(encoder, plan.prepared, indices, Role.PROBE, condition, on_done) @ references.T
        lost = plan.failed[condition]
        sources = [
            plan.prepared.rows[i].source != plan.prepared.rows[plan.references[c]].source for i, c in probes
        ]
        done[condition] = Comparisons(
            np.concatenate([scores, np.zeros((len(lost), len(references)), np.float32)]),
            np.array([c for _, c in probes] + list(lost), np.intp),
            np.array([True] * len(probes) + [False] * len(lost)),
            np.array(sources + [True] * len(lost)),
        )
    return done


def _embed(
    encoder: BundleEncoder,
    prepared: PreparedSet,
    rows: Sequence[int],
    role: Role,
    condition: Condition,
    on_done: OnEmbedded,
) -> NDArray[np.float32]:
    done = []
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        done.append(encoder.embed_as(prepared.crops(part), role, condition))
        on_done(len(part))
    return np.concatenate(done)


def calibrate(
    root: Path,
    sets: Sequence[PreparedSet],
    splits: Sequence[Split],
    *,
    command: str,
    targets: Sequence[float] = FMR_POINTS,
    track: Callable[[int], OnEmbedded] = lambda _: lambda _: None,
) -> Calibration:
    """Calibrates the bundle in `root`: each condition on the set with most subjects for it.

    Sets are never mixed in one comparison, because one subject may have two names. Raises Unsupported or
    DataSetError.
    """
    encoder = BundleEncoder(root)
    plans = [plan_of(prepared, splits) for prepared in sets]
    on_done = track(sum(plan.rows for plan in plans if plan.probes))
    best: dict[Condition, Comparisons] = {}
    source: dict[Condition, PreparedSet] = {}
    for plan in plans:
        if not plan.probes:
            continue
        for condition, compared in compare(encoder, plan, on_done=on_done).items():
            if condition not in best or compared.subjects > best[condition].subjects:
                best[condition], source[condition] = compared, plan.prepared
    return make_calibration(
        best,
        data=_described(best, source, splits),
        synthetic=_synthetic(source.values(), splits),
        command=command,
        targets=targets,
    )


def _described(
    best: Mapping[Condition, Comparisons], source: Mapping[Condition, PreparedSet], splits: Sequence[Split]
) -> str:
    parts = [f"{c} on {source[c].info.name} ({best[c].subjects} subjects)" for c in sorted(best)]
    return f"{'; '.join(parts)}; split {' and '.join(splits)}"


def _synthetic(sets: Iterable[PreparedSet], splits: Sequence[Split]) -> str:
    said: dict[str, None] = {}
    for prepared in sets:
        rows: list[Row] = [row for row in prepared.rows if row.split in splits]
        said |= dict.fromkeys(f"{prepared.info.name}: {part}" for part in synthetic_parts(prepared, rows))
    return "; ".join(said) or "nothing"
