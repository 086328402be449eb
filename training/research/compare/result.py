"""What one run found: hits of each subject, and VR at FAR, by test and condition of the probes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from faces.files import write_whole
from faces.rates.rank1 import SubjectCounts
from faces.strict import Strict
from training.data.records import DataSetError
from training.research.compare.plan import OWN

RESULT = "result.json"


class Rate(Strict):
    """A rate in percent; `low` and `high`: its 95 % subject-bootstrap interval, if it has one."""

    value: float
    low: float | None = None
    high: float | None = None


class VrAtFar(Strict):
    """VR at one FAR. `doubt`: why so few subjects cannot support the FAR; the paper prints such figures."""

    far: float
    vr: Rate
    doubt: str | None = None


class Found(Strict):
    """NIR probes of one condition against the unmasked VIS references.

    `hits`, `probes`: of each subject, in the set's order.
    """

    hits: tuple[int, ...]
    probes: tuple[int, ...]
    rank1: float
    vr: tuple[VrAtFar, ...] = ()

    def counts(self) -> SubjectCounts:
        subjects = np.arange(len(self.hits), dtype=np.int64)
        return SubjectCounts(subjects, np.array(self.hits, np.int64), np.array(self.probes, np.int64))


class Result(BaseModel):
    """One arm on one fold with one seed at one learning rate.

    `found`: by test, then by condition. Results of the stand-in's committed series, which had other facts
    beside these, are read as well.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    arm: str
    fold: str = ""
    seed: int
    lr: float
    loss: float | None = None
    found: Mapping[str, Mapping[str, Found]]
    synthetic: bool = True
    departures: tuple[str, ...] = ()
    recipe: Mapping[str, Any] | None = None
    start: str | None = None
    commit: str | None = None
    device: str | None = None
    seconds: float = 0.0
    images_seen: int = 0

    def of(self, test: str, *, masked: bool) -> Found | None:
        """What was found of masked or unmasked NIR probes. The committed series say `test` for `own`."""
        name = "test" if test == OWN and OWN not in self.found else test
        return self.found.get(name, {}).get(f"nir-{'masked' if masked else 'unmasked'}")

    def write(self, folder: Path) -> None:
        write_whole(folder / RESULT, (self.model_dump_json(indent=1) + "\n").encode())


def read_result(path: Path) -> Result | None:
    """Returns None if there is no file. Raises DataSetError if the file is no result of a comparison."""
    try:
        return Result.model_validate_json(path.read_bytes().replace(b": NaN", b": null"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataSetError(f"{path.name} of {path.parent.name} is not one of this command") from error


def results_in(out: Path) -> Iterator[Result]:
    """Yields every result below a folder, in order of the paths."""
    for path in sorted(out.rglob(RESULT)):
        found = read_result(path)
        if found is not None:
            yield found
