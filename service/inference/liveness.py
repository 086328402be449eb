"""Asks a bundle's network whether a face is a living one; it may only deny.

Without such a network, and for a spectrum that it was not made for, nothing is known: `none`, and a printed
photo passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faces.bundle import LivenessSpec
from faces.preprocess import liveness_input
from faces.types import AlignedCrop, Face, Image
from service.inference.batcher import Batcher, Observe
from service.inference.encoder import EncoderError
from service.inference.liveness_reading import NOT_LOOKED, LivenessReading
from service.inference.session import OnnxSession

Tensor = NDArray[np.float32]


class LivenessCheck:
    """The network of one bundle, in batches."""

    def __init__(
        self,
        spec: LivenessSpec,
        session: OnnxSession,
        *,
        max_batch: int,
        max_queue: int,
        observe: Observe | None = None,
    ) -> None:
        self._spec, self._session = spec, session
        self.batcher: Batcher[Tensor, float] = Batcher(
            self.run, name="liveness", max_batch=max_batch, max_queue=max_queue, observe=observe
        )

    def run(self, items: Sequence[Tensor]) -> list[float]:
        """Runs one forward pass: float32 [3, n, n] each -> probability of a living face each.

        Raises EncoderError if the output has another shape.
        """
        (output,) = self._session.run(np.stack(items)).values()
        if output.shape != (len(items), 1):
            raise EncoderError(f"liveness: expected [{len(items)}, 1], got {output.shape}")
        return [float(row[0]) for row in output]

    async def read(self, image: Image, face: Face, crop: AlignedCrop) -> LivenessReading:
        """The verdict about one face. Raises QueueFull, BatcherClosed, EncoderError for what is no
        probability: then nothing is decided at all."""
        if crop.spectrum not in self._spec.spectra:
            return NOT_LOOKED
        probability = await self.batcher.submit(liveness_input(image, face.box, crop, self._spec))
        if not (math.isfinite(probability) and 0.0 <= probability <= 1.0):
            raise EncoderError("the liveness network gave no probability")
        return LivenessReading("live" if probability >= self._spec.threshold else "denied", probability)
