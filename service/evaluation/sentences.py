"""Says in words what an evaluation found; the page and the command line print the same sentences."""

from __future__ import annotations

from faces.rates.intervals import Interval
from faces.types import Condition
from service.evaluation.figures import Acquisition, PairFigures, SiteEvaluation


def condition_words(condition: Condition) -> str:
    """Such as `masked NIR`."""
    return f"{'masked' if condition.masked else 'unmasked'} {condition.spectrum.value.upper()}"


def pair_words(one: PairFigures) -> str:
    """Such as `masked NIR probes against unmasked VIS references, camera door-1`."""
    words = (
        f"{condition_words(one.pair.probe)} probes against {condition_words(one.pair.reference)} references"
    )
    return words if one.camera is None else f"{words}, camera {one.camera}"


def coverage_sentence(one: PairFigures) -> str:
    """How much data there is, and which FMR it supports."""
    found = one.coverage
    said = (
        f"{found.probes} {condition_words(one.pair.probe)} probes of {found.people} people"
        f"{'' if one.camera is None else f' from camera {one.camera}'}"
        f" against {condition_words(one.pair.reference)} references: "
    )
    if found.supports is None:
        return f"{said}supports no threshold ({found.why})"
    return f"{said}supports FMR {found.supports:g}" + (f" ({found.why})" if found.why else "")


def acquisition_sentence(one: Acquisition) -> str:
    """FTA of probes, failures to enrol of references."""
    name = "FTE" if one.role.value == "reference" else "FTA"
    camera = "" if one.camera is None else f" from camera {one.camera}"
    said = f"{name}: {one.failed} of {one.attempts} {one.role.value}s{camera} gave no template"
    said += f" ({percent(one.rate)})" if one.rate is not None else ""
    if one.subjects_lost:
        said += f"; {one.subjects_lost} of {one.subjects} subjects have none at all"
    if one.broken:
        said += f"; {one.broken} other files are broken and count nowhere"
    return said


def percent(rate: Interval | None) -> str:
    """Such as `3.1 % [1.9, 4.6]`."""
    if rate is None:
        return "-"
    low, high = _figure(rate.low), _figure(rate.high)
    return f"{_figure(rate.value)} % [{low}, {high}]"


def _figure(share: float) -> str:
    return f"{100 * share:.3g}"


def default_warnings(evaluation: SiteEvaluation) -> list[str]:
    """Where the default FMR of the service is stricter than what the data supports."""
    default = evaluation.default_fmr
    if default is None:
        return []
    return [
        f"{pair_words(one)}: the service decides at FMR {default:g} unless asked otherwise, and these data"
        f" support {one.coverage.supports:g}. Once installed, their threshold counts down to that FMR; at"
        " stricter ones that of the bundle does, if it is higher"
        for one in evaluation.pairs
        if one.coverage.supports is not None and one.coverage.supports > default * (1 + 1e-6)
    ]
