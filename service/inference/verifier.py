"""Judges a detector's doubtful detections with the batched verification network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.inference.batcher import Batcher, Observe
from service.inference.session import OnnxSession

Floats = NDArray[np.float32]


class FaceVerifier:
    """Tells whether crops show a face, see `faces.verifier`.

    An item of its queue is all crops of a picture.
    """

    def __init__(
        self, session: OnnxSession, *, max_batch: int, max_queue: int, observe: Observe | None = None
    ) -> None:
        self._session, self._max_batch = session, max_batch
        self.batcher: Batcher[Floats, Floats] = Batcher(
            self.run, name="verify", max_batch=max_batch, max_queue=max_queue, observe=observe
        )

    def run(self, items: Sequence[Floats]) -> list[Floats]:
        """Judges the crops of several pictures: float32 [n, 3, side, side] each -> logits [n] each."""
        crops = np.concatenate(items)
        logits = np.concatenate(
            [
                self._pass(crops[start : start + self._max_batch])
                for start in range(0, len(crops), self._max_batch)
            ]
        )
        ends = np.cumsum([len(item) for item in items])
        return np.split(logits, ends[:-1])

    def _pass(self, crops: Floats) -> Floats:
        (output,) = self._session.run(crops).values()
        return output[:, 0]

    async def judge(self, crops: Floats) -> Floats:
        """The logits [n] of the crops of one picture. Raises QueueFull, BatcherClosed."""
        return await self.batcher.submit(crops)
