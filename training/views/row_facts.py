"""The facts that all rows of one photo share, and the rows and refusals made with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from faces.types import Condition, Point
from training.data.prepared import Refused, Role, Row, Split

Code = Literal["missing", "undecodable", "no_face", "too_small"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFacts:
    """One photo: its source in the data set, its subject, and the part that it plays."""

    source: str
    subject: str
    split: Split
    role: Role = "none"

    def row(
        self,
        condition: Condition,
        *,
        mask: str | None = None,
        generator: str | None = None,
        landmarks: tuple[Point, ...] | None = None,
    ) -> Row:
        """The row of a crop of the photo in a condition."""
        return Row(
            source=self.source,
            subject=self.subject,
            spectrum=condition.spectrum,
            masked=condition.masked,
            split=self.split,
            role=self.role,
            mask=mask,
            generator=generator,
            landmarks=landmarks,
        )

    def refused(
        self, condition: Condition, detail: str = "no face found", *, code: Code = "no_face"
    ) -> Refused:
        """The refusal of a crop: `detail` says why, for a reader."""
        return Refused(
            source=self.source,
            subject=self.subject,
            spectrum=condition.spectrum,
            code=code,
            detail=detail,
            masked=condition.masked,
            split=self.split,
            role=self.role,
        )
