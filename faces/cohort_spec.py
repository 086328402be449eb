"""Names the cohort of a bundle in its manifest, see `faces.cohort`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from faces.file_ref import FileRef
from faces.strict import Strict
from faces.types import PAIRS, Condition, Pair


class Centre(Strict):
    """What the likeness of both sides comes to, on average, for one pair of conditions."""

    reference: Condition
    probe: Condition
    likeness: Annotated[float, Field(ge=-2, le=2)]

    @property
    def pair(self) -> Pair:
        return Pair(self.reference, self.probe)


class CohortSpec(Strict):
    """Where the cohort's vectors lie and how they are used, see `faces.cohort.Cohort`.

    `file`: .npy, float16 [2, conditions, n, dimension]. `data`: what the vectors were drawn from, for people.
    `drawn_from`: the name of the prepared set whose people they were drawn from; `people`: at most how many
    of each group. These people set no threshold.
    """

    file: FileRef
    nearest: Annotated[int, Field(gt=0)]
    weight: Annotated[float, Field(gt=0, le=2)]
    centres: tuple[Centre, ...]
    data: str
    drawn_from: str
    people: Annotated[int, Field(gt=1)]

    @model_validator(mode="after")
    def _every_pair(self) -> CohortSpec:
        if sorted(one.pair for one in self.centres) != sorted(PAIRS):
            raise ValueError("a cohort has a centre for every pair of conditions, once")
        return self

    @property
    def by_pair(self) -> Mapping[Pair, float]:
        return {one.pair: one.likeness for one in self.centres}

    @property
    def id(self) -> str:
        """The digest of all that scores depend on: thresholds under one id are on one scale."""
        shaping = self.model_dump(mode="json", include={"nearest", "weight", "centres"})
        shaping["file"] = self.file.sha256
        text = json.dumps(shaping, sort_keys=True, separators=(",", ":"))
        return "co-" + hashlib.sha256(text.encode()).hexdigest()[:16]
