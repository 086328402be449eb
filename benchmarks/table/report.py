"""Writes the table as JSON and as Markdown, with the goals of the built-in bundle beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.table.rows import (
    LEAST_SUBJECTS,
    BundleMeasurement,
    ConditionRow,
    MaskedPhotos,
    Rate,
    Threshold,
)
from faces.rates.intervals import Interval

# Issue 4: points beside the reference bundle, or percent of all photos.
GOALS = {
    ("vis-unmasked", "rank1"): -2.0,
    ("nir-unmasked", "rank1"): 0.0,
    ("nir-masked", "rank1"): 5.0,
    ("nir-masked", "tar"): 5.0,
}
PHOTOS_GOAL = 95.0
NAMES = {
    "vis-unmasked": "VIS",
    "vis-masked": "VIS, synthetic mask",
    "nir-unmasked": "pseudo-NIR",
    "nir-masked": "pseudo-NIR, synthetic mask",
}
SYNTHETIC = (
    "**Pseudo-NIR and masks are SYNTHETIC** (`relit-nir-1`, held-out mask photos and cuts); the photos with"
    " real masks have no identities."
)


def as_json(measured: Sequence[BundleMeasurement]) -> bytes:
    """Returns every figure, and the verdict of each threshold."""
    facts = [dataclasses.asdict(one) for one in measured]
    for one, fact in zip(measured, facts, strict=True):
        for threshold, entry in zip(one.thresholds, fact["thresholds"], strict=True):
            entry["verdict"] = threshold.verdict
        for row, entry in zip(one.groups, fact["groups"], strict=True):
            entry["enough"] = row.enough
    return (json.dumps({"synthetic": SYNTHETIC, "bundles": facts}, indent=1) + "\n").encode()


def markdown(measured: Sequence[BundleMeasurement]) -> str:
    """Returns the sections: goals, what probes were taken for, thresholds, groups."""
    return (
        "\n".join(
            [
                SYNTHETIC,
                "",
                *_goals(measured),
                "",
                *_further(measured),
                *_seen(measured),
                "",
                *_thresholds(measured),
                "",
                *_groups(measured),
            ]
        ).rstrip()
        + "\n"
    )


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _goals(measured: Sequence[BundleMeasurement]) -> list[str]:
    first, others = measured[0], measured[1:]
    head = ["probe", "figure", first.name]
    for one in others:
        head += [one.name, f"{one.name} minus {first.name}"]
    head += ["goal", *(f"{one.name} reaches it" for one in others)]
    rows = []
    for i, row in enumerate(first.conditions):
        for figure, title in (("rank1", "rank-1"), ("tar", "TAR at FMR .1 %")):
            rates: list[Rate] = [getattr(one.conditions[i], figure) for one in measured]
            goal = GOALS.get((row.condition, figure))
            cells = [NAMES[row.condition], title, percent(rates[0])]
            for rate in rates[1:]:
                cells += [percent(rate), points(rate.minus)]
            cells.append("" if goal is None else "reference" + (f" {goal:+g}" if goal else ""))
            cells += ["" if goal is None else _reached(rate.minus, goal) for rate in rates[1:]]
            rows.append(cells)
    rows += _photo_rows(measured)
    subjects = ", ".join(f"{one.name}: {one.not_enrolled} not enrolled" for one in measured)
    count: ConditionRow = first.conditions[0]
    return [
        f"{first.subjects} LFW test subjects, one reference photo each, {count.probes} probes of each"
        f" condition ({subjects}). Percent with 95 % intervals over subjects; differences in points, paired"
        " by subject.",
        "",
        *_lines(head, rows),
    ]


def _further(measured: Sequence[BundleMeasurement]) -> list[str]:
    rows = [
        [
            one.name,
            f"{row.people}, {row.condition}",
            f"{row.probes} of {row.subjects} people",
            str(row.references),
            percent(row.rank1),
            percent(row.tar),
        ]
        for one in measured
        for row in one.further
    ]
    if not rows:
        return []
    head = ["bundle", "probe", "number", "references", "rank-1", "TAR at FMR .1 %"]
    note = "People with real masks (their NIR is pseudo-NIR), and rendered ones:"
    return [note, "", *_lines(head, rows), ""]


def _photo_rows(measured: Sequence[BundleMeasurement]) -> Iterator[list[str]]:
    found = [one.photos for one in measured if one.photos is not None]
    if len(found) != len(measured):
        return
    for figure, title in (
        ("found", "face found"),
        ("right", "mask state right, of all"),
        ("right_of_found", "mask state right, of those found"),
    ):
        rates: list[Rate] = [_photo(photos, figure) for photos in found]
        cells = [f"{found[0].photos} real masked photos", title, percent(rates[0])]
        for rate in rates[1:]:
            cells += [percent(rate), points(rate.minus)]
        cells.append("" if figure == "right" else f"{PHOTOS_GOAL:g} %")
        for rate in rates[1:]:
            short = PHOTOS_GOAL - 100 * rate.rate.value
            cells.append("" if figure == "right" else "yes" if short <= 0 else f"no, {short:.1f} short")
        yield cells


def _photo(photos: MaskedPhotos, figure: str) -> Rate:
    rate: Rate = getattr(photos, figure)
    return rate


def _reached(minus: Interval | None, goal: float) -> str:
    if minus is None:
        return ""
    short = goal - minus.value
    if short > 0:
        return f"no, {short:.1f} short"
    return "yes" if minus.low >= goal else "yes, its interval not wholly"


def _seen(measured: Sequence[BundleMeasurement]) -> list[str]:
    rows = [
        [
            one.name,
            NAMES[row.condition],
            *(f"{100 * share:.1f}" for share in (row.seen.failed, row.seen.masked, row.seen.nir)),
        ]
        for one in measured
        for row in one.conditions
    ]
    head = ["bundle", "probe", "no face, %", "taken for masked, %", "taken for NIR, %"]
    return ["What the probes were taken for (of those with a face):", "", *_lines(head, rows)]


def _thresholds(measured: Sequence[BundleMeasurement]) -> list[str]:
    head = [
        "bundle",
        "probe",
        "calibrated on",
        "threshold",
        "stated: at most",
        "observed FMR",
        "FMR as served",
        "TAR",
        "holds",
    ]
    rows = [[one.name, *_threshold(point)] for one in measured for point in one.thresholds]
    fmr = measured[0].thresholds[0].fmr
    return [
        f"Thresholds at the calibrated FMR {100 * fmr:g} %, on the same held-out subjects. Stated: the 95 %"
        " upper bound that calibration gave. Observed: at the condition's own threshold; as served: at the"
        " one of the condition that the service took the probe for. It holds where the observed FMR is at"
        " most what was stated.",
        "",
        *_lines(head, rows),
    ]


def _threshold(point: Threshold) -> list[str]:
    return [
        NAMES[point.condition],
        f"{point.calibrated_on} subjects",
        f"{point.threshold:.3f}",
        f"{100 * point.upper:.3f}",
        percent(point.observed, digits=3),
        percent(point.served, digits=3),
        percent(point.tar),
        point.verdict,
    ]


def _groups(measured: Sequence[BundleMeasurement]) -> list[str]:
    if not measured[0].groups:
        return []
    head = [
        "group",
        "subjects",
        "probe",
        "probes",
        "bundle",
        "rank-1",
        "minus the first bundle",
        "TAR",
        "FMR within the group",
        "",
    ]
    rows = [
        [
            row.group,
            str(row.subjects),
            NAMES[row.condition],
            str(row.probes),
            one.name,
            percent(row.rank1),
            points(row.rank1.minus),
            percent(row.tar),
            percent(row.fmr, digits=2),
            "" if row.enough else "too few to say",
        ]
        for lines in zip(*(one.groups for one in measured), strict=True)
        for one, row in zip(measured, lines, strict=True)
    ]
    return [
        "By group: the labelled part of `faces_extra`, one reference photo each, enrolled beside the LFW test"
        " subjects. TAR and FMR at the calibrated threshold of the condition, compared within the group."
        f" Fewer than {LEAST_SUBJECTS} subjects are too few to say anything.",
        "",
        *_lines(head, rows),
    ]


def percent(rate: Rate, *, digits: int = 1) -> str:
    """Formats as `71.2 [68.0, 74.4]`, with a star if the listed candidates do not determine the figure."""
    value, low, high = (f"{100 * part:.{digits}f}" for part in _parts(rate.rate))
    return f"{value} [{low}, {high}]" + ("" if rate.exact else " *")


def points(minus: Interval | None) -> str:
    if minus is None:
        return ""
    value, low, high = (f"{part:+.1f}" for part in _parts(minus))
    return f"{value} [{low}, {high}]"


def _parts(interval: Interval) -> tuple[Any, Any, Any]:
    return interval.value, interval.low, interval.high
