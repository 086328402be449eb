"""Keeps a run's record up to date: at its start, at every checkpoint and at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.data.prepared import SetInfo
from training.engine.distributed import rank, world_size
from training.engine.run_record import RunRecord, commit, device_name, read_record
from training.networks.initial_weights import initial_digest


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run trains on: the set's facts and a digest of the rows in use."""

    info: SetInfo
    digest: str


def new_record(
    recipe: Mapping[str, Any], data: TrainingData, *, start: Path | None, device: torch.device
) -> RunRecord:
    """The record of a run that begins now. Raises DataSetError if `start` does not exist."""
    return RunRecord(
        recipe=dict(recipe),
        set_name=data.info.name,
        set_digest=data.digest,
        set_made_by=data.info.made_by,
        synthetic=data.info.synthetic,
        start=None if start is None else initial_digest(start),
        commit=commit(),
        torch=torch.__version__,
        device=device_name(device),
        processes=world_size(),
    )


class RunLog:
    """A run's record, including the time of its earlier parts; only process 0 writes it."""

    def __init__(self, record: RunRecord, out: Path, *, images_seen: Callable[[int], int]) -> None:
        """`images_seen`: by the number of iterations. Raises DataSetError if `out` holds another run."""
        self._out, self._images_seen = out, images_seen
        self.before = read_record(out)
        if self.before is not None:
            record.check_same(self.before)
            record = record.model_copy(update={"seconds": self.before.seconds, "loss": self.before.loss})
        self.record = record
        self._earlier = record.seconds

    def begin(self) -> None:
        """Writes the record and starts its clock."""
        self._started = time.perf_counter()
        self._write()

    def keep(self, iteration: int) -> None:
        """Updates the record at a checkpoint."""
        seconds = self._earlier + time.perf_counter() - self._started
        self._update(
            iterations=iteration, images_seen=self._images_seen(iteration), seconds=round(seconds, 1)
        )

    def finish(self, loss: float) -> RunRecord:
        """Marks the run finished. A NaN `loss`, of a run with nothing left to do, keeps the earlier value."""
        known = {"loss": loss} if loss == loss else {}
        self._update(**known, finished=True)
        return self.record

    def _update(self, **facts: float) -> None:
        self.record = self.record.model_copy(update=facts)
        self._write()

    def _write(self) -> None:
        if not rank():
            self.record.write(self._out)
