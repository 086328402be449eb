"""The mean that selects a run (docs/matcher.md, "How runs are compared"), and paired differences of it.

It is the mean of rank-1 and TAR at FMR .1 % over five conditions of validation people, by training's
generators. The bootstrap draws people, LFW's and those with real masks by themselves; each run keeps the
threshold that all its non-mated scores give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.rates.intervals import Interval
from faces.rates.resampling import percentiles, weights
from faces.types import Condition, Spectrum
from training.matcher.figures import Outcomes
from training.matcher.measure import System, Templates, judged

Floats = NDArray[np.float64]

LFW, REAL = "lfw-training", "real-training"
SETS = (LFW, REAL)
VIS_MASKED = Condition(Spectrum.VIS, masked=True)
NIR, NIR_MASKED = Condition(Spectrum.NIR, masked=False), Condition(Spectrum.NIR, masked=True)
CELLS = (
    (LFW, NIR),
    (LFW, NIR_MASKED),
    (LFW, VIS_MASKED),
    (REAL, VIS_MASKED),
    (REAL, NIR_MASKED),
)


@dataclass(frozen=True, slots=True)
class RuleLine:
    """`mean` in percent; `less`: minus that of the run that it is compared with, None for that run itself."""

    run: str
    mean: float
    less: Interval | None

    def __str__(self) -> str:
        less = self.less
        shown = "" if less is None else f"{less.value:+.1f} [{less.low:+.1f}, {less.high:+.1f}]"
        return f"| {self.run} | {self.mean:.1f} | {shown} |"


def rule_lines(of: Mapping[str, Templates], reference: str, runs: Sequence[str]) -> list[RuleLine]:
    """`of`: the sets of SETS; `reference`: the network of references and clear probes; the first run is the
    one that others are compared with. People with real masks are searched for among LFW's too."""
    means = {run: _means(_outcomes(of, System(run, reference, reference, run))) for run in runs}
    base = means[runs[0]]
    made = []
    for run, mean in means.items():
        less = None if mean is base else percentiles(float(mean[0] - base[0]), mean[1:] - base[1:])
        made.append(RuleLine(run, float(mean[0]), less))
    return made


def _outcomes(of: Mapping[str, Templates], system: System) -> dict[tuple[str, Condition], Outcomes]:
    galleries = {LFW: (of[LFW],), REAL: (of[REAL], of[LFW])}
    return {
        (name, c): judged(system, of[name], *galleries[name], spectrum=c.spectrum, masked=c.masked)
        for name, c in CELLS
    }


def _means(found: Mapping[tuple[str, Condition], Outcomes]) -> Floats:
    """The mean over all people, then over each draw of them: [1 + bootstraps], in percent.

    The draws of a set depend on who is in it alone, so runs are compared over the same ones.
    """
    shares = []
    for seed, name in enumerate(SETS):
        cells = [outcome for (of_set, _), outcome in found.items() if of_set == name]
        people = np.unique(np.concatenate([cell.subject for cell in cells]))
        drawn = np.concatenate([np.ones((1, len(people)), np.int64), weights(len(people), seed=seed)])
        for cell in cells:
            place = np.searchsorted(people, cell.subject)
            count = drawn @ np.bincount(place, minlength=len(people))
            right = (np.bincount(place, of, minlength=len(people)) for of in (cell.hit, cell.accepted))
            shares += [(drawn @ each) / count for each in right]
    return np.asarray(100.0 * np.mean(shares, axis=0), np.float64)
