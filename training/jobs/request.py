"""What the service asks of a retraining process: `request.json` of the job's directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from faces.strict import Strict

Preset = Literal["hsst", "hsst+distill", "adapter"]


class Request(Strict):
    """`prepared`: the set's directory, or labelled photos that are to be prepared (for `smoke`: where it is
    kept once rendered; for `enrolled`: the crops that the service wrote, see `faces.enrolled`). `trunk`: the
    checkpoint to start from. `base`: the active bundle: compared with, distilled from, and the giver of
    detector and mask classifier."""

    dataset: str
    preset: Preset
    iterations: Annotated[int, Field(ge=1)] | None
    epochs: Annotated[float, Field(gt=0)] | None
    minutes: Annotated[float, Field(gt=0)] | None
    seed: int
    activate: Literal["manual", "if_better"]
    prepared: Path
    facekit: Path | None
    trunk: Path
    base: Path

    @property
    def smoke(self) -> bool:
        """Whether it only shows that every part runs."""
        return self.dataset == "smoke"

    @property
    def enrolled(self) -> bool:
        """Whether the service's own enrolled crops are learned from."""
        return self.dataset == "enrolled"
