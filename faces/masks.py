"""Reads the probability of a mask: masked, unmasked, or uncertain where the frame does not tell."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


# Its docstring is the description of the schema `MaskState` in the OpenAPI document.
class MaskState(StrEnum):
    """Whether a face wears a mask; `uncertain` where the frame does not tell."""

    MASKED = "masked"
    UNMASKED = "unmasked"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class MaskReading:
    """The mask state of one face, with the classifier's `probability` of a mask.

    `masked` is the likelier of the two, also where the state is uncertain. Raises ValueError if a state
    that is certain contradicts it.
    """

    state: MaskState
    masked: bool
    probability: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"the probability of a mask lies in [0, 1], got {self.probability}")
        if self.state is not MaskState.UNCERTAIN and self.masked != (self.state is MaskState.MASKED):
            raise ValueError(f"the state is {self.state}, and masked is {self.masked}")

    @property
    def possible(self) -> tuple[bool, ...]:
        """Every value that `masked` may have in truth: both where the state is uncertain."""
        return (False, True) if self.state is MaskState.UNCERTAIN else (self.masked,)


# From this probability on, an overexposed face may be bare: skin without features looks like a white mask.
# A mask hardly ever looks bare, so below it the face is unmasked as in any other frame.
OVEREXPOSED_FROM = 0.02


def read_mask(
    probability: float,
    *,
    threshold: float,
    band: tuple[float, float] | None = None,
    overexposed: bool = False,
) -> MaskReading:
    """Reads a probability of a mask by the threshold and the band of its classifier.

    The state is uncertain inside `band` (low, high; both inclusive), and on an `overexposed` face from
    `OVEREXPOSED_FROM` on.
    """
    masked = probability >= threshold
    inside = band is not None and band[0] <= probability <= band[1]
    if inside or (overexposed and probability >= OVEREXPOSED_FROM):
        return MaskReading(MaskState.UNCERTAIN, masked, probability)
    return MaskReading(MaskState.MASKED if masked else MaskState.UNMASKED, masked, probability)
