"""What is known of whether a face is a living one. It loads no network: commands explain doors by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Whether a living face was shown to be before the camera. `none`: nothing looked for it.
Liveness = Literal["none", "live", "denied"]


@dataclass(frozen=True, slots=True)
class LivenessReading:
    """`probability`: of a living face, by the network; None where nothing looked."""

    state: Liveness = "none"
    probability: float | None = None

    def __post_init__(self) -> None:
        if (self.state == "none") != (self.probability is None):
            raise ValueError("a probability of a living face goes with a verdict about it")

    @property
    def denied(self) -> bool:
        return self.state == "denied"


# Nothing looked for a living face.
NOT_LOOKED = LivenessReading()
