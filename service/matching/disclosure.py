"""What a caller may learn from a comparison: everything, or what a door needs and no more.

Scores of subjects who do not match, read often enough, list a gallery and let a picture be bent
towards a subject step by step; a threshold of one's own choice makes anybody match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from faces.types import Condition
from service.errors import Forbidden
from service.matching.comparison import Candidate, Identified, Options
from service.spaces.space import EmbeddingSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """None: no limit. `others`: candidates below the threshold that are shown, without names and metadata."""

    others: int | None = None
    score_digits: int | None = None
    loosest_fmr: float | None = None

    def check(self, space: EmbeddingSpace, options: Options, conditions: Sequence[Condition]) -> None:
        """Raises Forbidden where the threshold asked for is looser than this caller may ask in each
        of these conditions."""
        if self.loosest_fmr is None:
            return
        if options.fmr is not None and options.fmr > self.loosest_fmr:
            raise Forbidden(self._why())
        if options.threshold is None:
            return
        floors = [self._floor(space, condition, self.loosest_fmr) for condition in conditions]
        if options.threshold < min(floors):
            raise Forbidden(self._why())

    def identified(self, found: Identified) -> Identified:
        """Candidates at or above the threshold, and `others` further ones."""
        if self.others is None:
            return found
        accepted = [candidate for candidate in found.candidates if candidate.accepted]
        below = [candidate for candidate in found.candidates if not candidate.accepted]
        shown = [*accepted, *(replace(each, metadata={}, display_name=None) for each in below[: self.others])]
        return replace(found, candidates=tuple(self._rounded(each) for each in shown))

    def _rounded(self, candidate: Candidate) -> Candidate:
        if self.score_digits is None:
            return candidate
        return replace(
            candidate,
            score=round(candidate.score, self.score_digits),
            margin=round(candidate.margin, self.score_digits),
        )

    def _floor(self, space: EmbeddingSpace, condition: Condition, fmr: float) -> float:
        """The threshold at the loosest calibrated FMR that is not above `fmr`; 1 where there is none."""
        points = [point for point in space.calibration.supported(condition) if point <= fmr]
        return space.calibration.at(condition, max(points)).threshold if points else 1.0

    def _why(self) -> str:
        return f"this key may not ask for a threshold looser than FMR {self.loosest_fmr:g}"


EVERYTHING = Disclosure()
DOOR = Disclosure(others=1, score_digits=2, loosest_fmr=1e-2)
