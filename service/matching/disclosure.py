"""What a caller may learn from a comparison: everything, or what a door needs and no more.

Scores of subjects who do not match, read often enough, list a gallery and let a picture be bent
towards a subject step by step; a threshold of one's own choice makes anybody match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from faces.calibration import Calibration, UnsupportedFmr, fmr_for_fpir
from faces.types import Condition
from service.errors import Forbidden
from service.matching.comparison import Candidate, Identified
from service.matching.rules import Options
from service.spaces.space import EmbeddingSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """None: no limit. `others`: candidates below the threshold that are shown, without names and metadata.
    `score_digits`: of scores; where there is such a limit, no cosine is told, which would be exact."""

    others: int | None = None
    score_digits: int | None = None
    loosest_fmr: float | None = None

    def check(self, space: EmbeddingSpace, options: Options, probes: Sequence[Condition]) -> None:
        """Raises Forbidden where the threshold asked for is looser than this caller may ask for probes in
        each of these conditions."""
        if self.loosest_fmr is None:
            return
        if options.fmr is not None and options.fmr > self.loosest_fmr:
            raise Forbidden(self._why())
        calibration = space.thresholds.of(options.camera).calibration
        if options.fpir is not None and self._too_loose(calibration, options.fpir, space.gallery.size):
            raise Forbidden(self._why())
        if options.threshold is None:
            return
        floors = [self._floor(calibration, probe, self.loosest_fmr) for probe in probes]
        if options.threshold < min(floors):
            raise Forbidden(self._why())

    def limited(self, options: Options) -> Options:
        """The options as this caller may use them: where a pair of conditions is not calibrated, nobody knows
        how loose a threshold is, so it decides nothing."""
        return options if self.loosest_fmr is None else replace(options, calibrated_only=True)

    def identified(self, found: Identified) -> Identified:
        """Candidates at or above the threshold, and `others` further ones."""
        if self.others is None:
            return found
        accepted = [candidate for candidate in found.candidates if candidate.accepted]
        below = [candidate for candidate in found.candidates if not candidate.accepted]
        shown = [*accepted, *(replace(each, metadata={}, display_name=None) for each in below[: self.others])]
        return replace(found, candidates=tuple(self._rounded(each) for each in shown))

    def _rounded(self, candidate: Candidate) -> Candidate:
        digits, margin = self.score_digits, candidate.margin
        if digits is None:
            return candidate
        return replace(
            candidate,
            score=round(candidate.score, digits),
            margin=None if margin is None else round(margin, digits),
            cosine=None,
        )

    def _floor(self, calibration: Calibration, probe: Condition, fmr: float) -> float:
        """The threshold at the loosest calibrated FMR that is not above `fmr`, whatever reference is met;
        1 where there is none."""
        floors = []
        for points in calibration.pairs:
            if points.probe == probe:
                allowed = [point.threshold for point in points.points if point.fmr <= fmr]
                floors.append(allowed[0] if allowed else 1.0)
        return max(floors, default=1.0)

    def _too_loose(self, calibration: Calibration, fpir: float, comparisons: int) -> bool:
        """Whether the point that an FPIR leads to is looser than this caller may ask."""
        try:
            point = calibration.within(fmr_for_fpir(fpir, comparisons))
        except UnsupportedFmr:
            return False  # stricter than anything calibrated: refused for that
        return self.loosest_fmr is not None and point > self.loosest_fmr

    def _why(self) -> str:
        return f"this key may not ask for a threshold looser than FMR {self.loosest_fmr:g}"


EVERYTHING = Disclosure()
DOOR = Disclosure(others=1, score_digits=2, loosest_fmr=1e-2)
