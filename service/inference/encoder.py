"""Aligned crop -> unit embedding, and face -> mask state: what follows the detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.bundle import DetectedMask, EncoderSpec, MaskSpec
from faces.preprocess import encoder_input, mask_input, mask_probability, unit_rows
from faces.types import AlignedCrop, Embedding, Face, Image, Role
from service.inference.batcher import Batcher, Observe
from service.inference.session import OnnxSession

Tensor = NDArray[np.float32]


class EncoderFault(RuntimeError):
    """The network gave something that is no embedding of its space."""


class Encoder:
    """Probe and reference encoders of one space; they are one session where they share a file."""

    def __init__(
        self,
        spec: EncoderSpec,
        sessions: Mapping[Role, OnnxSession],
        *,
        space_id: str,
        max_batch: int,
        max_queue: int,
        observe: Observe | None = None,
    ) -> None:
        self._spec, self._space_id, self._sessions = spec, space_id, sessions
        self.batcher: Batcher[tuple[Role, Tensor], Tensor] = Batcher(
            self.run,
            name="embed",
            max_batch=max_batch,
            max_queue=max_queue,
            key=lambda item: sessions[item[0]].provider if self._shared else item[0],
            observe=observe,
        )

    @property
    def _shared(self) -> bool:
        return self._sessions[Role.PROBE] is self._sessions[Role.REFERENCE]

    def run(self, items: Sequence[tuple[Role, Tensor]]) -> list[Tensor]:
        """One forward pass: float32 [3, h, w] each -> unit float32 [dimension] each.

        Zeros stand where the network gave no vector: that one item fails, not its neighbours.
        """
        session = self._sessions[items[0][0]]
        (output,) = session.run(np.stack([tensor for _, tensor in items])).values()
        if output.shape != (len(items), self._spec.dimension):
            raise EncoderFault(f"expected [{len(items)}, {self._spec.dimension}], got {output.shape}")
        return [_unit_or_zeros(row) for row in output]

    async def embed(self, crop: AlignedCrop, role: Role) -> Embedding:
        """Raises QueueFull, BatcherClosed, EncoderFault."""
        vector = await self.batcher.submit((role, encoder_input(crop, self._spec)))
        if not vector.any():
            raise EncoderFault("the network gave a zero or infinite vector")
        return Embedding(vector.copy(), self._space_id, role)


def _unit_or_zeros(row: Tensor) -> Tensor:
    try:
        (unit,) = unit_rows(row[None])
    except ValueError:
        unit = np.zeros_like(row)
    return np.asarray(unit, np.float32)


@dataclass(frozen=True, slots=True)
class MaskState:
    """Whether a face wears a mask, with the classifier's probability."""

    masked: bool
    probability: float


class MaskClassifier:
    """Tells masked from unmasked faces."""

    def __init__(
        self,
        spec: MaskSpec,
        session: OnnxSession,
        *,
        max_batch: int,
        max_queue: int,
        observe: Observe | None = None,
    ) -> None:
        self._spec, self._session = spec, session
        self.batcher: Batcher[Tensor, float] = Batcher(
            self.run, name="mask", max_batch=max_batch, max_queue=max_queue, observe=observe
        )

    def run(self, items: Sequence[Tensor]) -> list[float]:
        """One forward pass: float32 [3, n, n] each -> probability of a mask each."""
        output = self._session.run(np.stack(items))[self._spec.output]
        return [mask_probability(row, self._spec) for row in output]

    async def classify(self, image: Image, face: Face) -> MaskState:
        """Raises QueueFull, BatcherClosed."""
        probability = await self.batcher.submit(mask_input(image, face.box, self._spec))
        return MaskState(probability >= self._spec.threshold, probability)


class DetectedMasks:
    """Tells masked from unmasked faces by what the detector said of them; runs nothing."""

    def __init__(self, spec: DetectedMask) -> None:
        self._spec = spec

    async def classify(self, image: Image, face: Face) -> MaskState:  # noqa: ARG002 - as MaskClassifier
        """Raises ValueError for a face that a detector without masks found."""
        if face.masked is None:
            raise ValueError("the detector that found this face does not tell masks")
        return MaskState(face.masked >= self._spec.threshold, face.masked)
