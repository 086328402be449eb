"""Detects the faces of an image with the batched detection network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.bundle import DetectorSpec
from faces.detect import LOOKS, Placement, canvas_input, decode, letterbox
from faces.types import Face, Image
from service.inference.batcher import Batcher, Observe
from service.inference.session import OnnxSession


@dataclass(frozen=True, slots=True, eq=False)
class DetectorInput:
    """A letterboxed image. `pixels`: uint8 [side, side, 3]; `image_size`: (width, height) of the original."""

    pixels: NDArray[np.uint8]
    placement: Placement
    image_size: tuple[int, int]


class Detector:
    """Finds every face of an image, largest first."""

    def __init__(
        self,
        spec: DetectorSpec,
        session: OnnxSession,
        *,
        max_batch: int,
        max_queue: int,
        observe: Observe | None = None,
    ) -> None:
        self._spec, self._session = spec, session
        self.batcher: Batcher[DetectorInput, tuple[Face, ...]] = Batcher(
            self.run,
            name="detect",
            max_batch=max_batch,
            max_queue=max_queue,
            key=lambda canvas: canvas.placement.canvas_px,
            observe=observe,
        )

    def prepare(self, image: Image, *, zoom: float = 1.0) -> DetectorInput:
        """Letterboxes an image onto the smallest canvas that holds it."""
        pixels, placement = letterbox(image, canvas_px=self._spec.canvas_px, zoom=zoom)
        return DetectorInput(pixels, placement, (image.width, image.height))

    def run(self, canvases: Sequence[DetectorInput]) -> list[tuple[Face, ...]]:
        """Runs one forward pass over canvases of one size; returns the faces of each."""
        normalisation = self._spec.normalisation
        batch = np.stack([canvas_input(canvas.pixels, normalisation) for canvas in canvases])
        outputs = self._session.run(batch)
        return [
            decode(
                {name: values[i] for name, values in outputs.items()},
                canvas.placement,
                spec=self._spec,
                image_size=canvas.image_size,
            )
            for i, canvas in enumerate(canvases)
        ]

    async def detect(self, image: Image, *, looks: Sequence[float] = LOOKS) -> tuple[Face, ...]:
        """Returns the faces in pixels of the image; an empty tuple if there are none.

        Repeats the detection at other zooms (`looks`) until it finds a face. Raises QueueFull, BatcherClosed.
        """
        for zoom in looks:
            if faces := await self.batcher.submit(self.prepare(image, zoom=zoom)):
                return faces
        return ()
