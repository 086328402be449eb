"""Embeds aligned crops and classifies faces as masked or unmasked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from faces.bundle import EncoderSpec, MaskSpec
from faces.masks import MaskReading, MaskState
from faces.preprocess import encoder_input, mask_input, mask_probability, unit_rows
from faces.routing import encoders_of, needs_mask_state
from faces.types import AlignedCrop, Condition, Embedding, Face, Image, Role
from service.inference.batcher import Batcher, Observe
from service.inference.session import OnnxSession

Tensor = NDArray[np.float32]


class EncoderError(RuntimeError):
    """The output of the network is not an embedding of its space."""


class Encoder:
    """Probe and reference encoders of one space; they share one session if they share a file.

    An item of the batcher names its encoder by the role whose file it is.
    """

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
        """Runs one forward pass: float32 [3, h, w] each -> unit-norm float32 [dimension] each.

        A zero or non-finite output becomes zeros, so that this item fails and its neighbours do not.
        Raises EncoderError if the output has another shape.
        """
        session = self._sessions[items[0][0]]
        outputs = session.run(np.stack([tensor for _, tensor in items]))
        name = self._spec.output
        (output,) = outputs.values() if name is None else (outputs[name],)
        if output.shape != (len(items), self._spec.dimension):
            raise EncoderError(f"expected [{len(items)}, {self._spec.dimension}], got {output.shape}")
        return [_unit_or_zeros(row) for row in output]

    def waits_for_mask(self, crop: AlignedCrop, role: Role) -> bool:
        """Whether `embed` needs the mask state of this crop's face."""
        return needs_mask_state(self._spec, role, crop.spectrum)

    async def embed(
        self, crop: AlignedCrop, role: Role, mask: MaskReading | None = None
    ) -> tuple[Embedding, ...]:
        """Embeds one crop by the encoders that `faces.routing.encoders_of` names: one, seldom two.

        Raises QueueFull, BatcherClosed, EncoderError, and ValueError if `waits_for_mask` and there is no
        `mask`.
        """
        if mask is None and self.waits_for_mask(crop, role):
            raise ValueError("the encoder of a visible probe is chosen by its mask state")
        condition = Condition(crop.spectrum, mask is not None and mask.masked)
        uncertain = mask is not None and mask.state is MaskState.UNCERTAIN
        names = encoders_of(self._spec, role, condition, uncertain=uncertain)
        tensor = encoder_input(crop, self._spec)
        vectors = await asyncio.gather(*(self.batcher.submit((name, tensor)) for name in names))
        if not all(vector.any() for vector in vectors):
            raise EncoderError("the network gave a zero or infinite vector")
        return tuple(Embedding(vector.copy(), self._space_id, role) for vector in vectors)


def _unit_or_zeros(row: Tensor) -> Tensor:
    try:
        (unit,) = unit_rows(row[None])
    except ValueError:
        unit = np.zeros_like(row)
    return np.asarray(unit, np.float32)


class MaskClassifier:
    """Classifies faces as masked or unmasked with a network of its own."""

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
        """Runs one forward pass: float32 [3, n, n] each -> probability of a mask each."""
        output = self._session.run(np.stack(items))[self._spec.output]
        return [mask_probability(row, self._spec) for row in output]

    async def classify(self, image: Image, face: Face) -> float:
        """The probability that one face wears a mask. Raises QueueFull, BatcherClosed."""
        return await self.batcher.submit(mask_input(image, face.box, self._spec))


class DetectedMasks:
    """Classifies faces by the mask probability that the detector gave; runs no network."""

    async def classify(self, image: Image, face: Face) -> float:  # noqa: ARG002 - the interface of MaskClassifier
        """Raises ValueError if the face comes from a detector that does not classify masks."""
        if face.masked is None:
            raise ValueError("the detector that found this face does not tell masks")
        return face.masked
