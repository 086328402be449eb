"""Defines what the service asks of a process: `request.json` of the job's directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from faces.strict import Strict

Preset = Literal["hsst", "hsst+distill", "adapter"]


class JobRequest(Strict):
    """What every request has, and all that an evaluation asks for.

    `prepared` is the directory of a prepared set, or of labelled photos to prepare. For the data set
    `smoke` it is where the rendered set is kept; for `enrolled` it holds the crops that the service wrote
    (see `faces.enrolled`). `base` is the active bundle.
    """

    dataset: str
    seed: int
    prepared: Path
    base: Path


class RetrainRequest(JobRequest):
    """A retraining. At most one of `iterations`, `epochs` and `minutes` is given: its length.

    `trunk` is the checkpoint that training starts from. The new network is compared with `base`; `base`
    also gives detector and mask classifier, and is the teacher of the preset `hsst+distill`.
    """

    preset: Preset
    iterations: Annotated[int, Field(ge=1)] | None
    epochs: Annotated[float, Field(gt=0)] | None
    minutes: Annotated[float, Field(gt=0)] | None
    activate: Literal["manual", "if_better"]
    facekit: Path | None
    trunk: Path

    @property
    def smoke(self) -> bool:
        """Whether the job only shows that every part runs."""
        return self.dataset == "smoke"

    @property
    def enrolled(self) -> bool:
        """Whether training uses the service's own enrolled crops."""
        return self.dataset == "enrolled"
