"""Image -> faces, through the batched detection network."""

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
class Canvas:
    """An image as the detector sees it. `pixels`: uint8 [side, side, 3]."""

    pixels: NDArray[np.uint8]
    placement: Placement
    image_size: tuple[int, int]


class Detector:
    """`detect` finds every face of an image, largest first; none is an empty tuple."""

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
        self.batcher: Batcher[Canvas, tuple[Face, ...]] = Batcher(
            self.run,
            name="detect",
            max_batch=max_batch,
            max_queue=max_queue,
            key=lambda canvas: canvas.placement.canvas_px,
            observe=observe,
        )

    def canvas(self, image: Image, *, zoom: float = 1.0) -> Canvas:
        pixels, placement = letterbox(image, canvas_px=self._spec.canvas_px, zoom=zoom)
        return Canvas(pixels, placement, (image.width, image.height))

    def run(self, canvases: Sequence[Canvas]) -> list[tuple[Face, ...]]:
        """One forward pass over canvases of one size."""
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

    async def detect(self, image: Image) -> tuple[Face, ...]:
        """Faces in pixels of the image; a picture without one is looked at again (`LOOKS`).

        Raises QueueFull, BatcherClosed.
        """
        for zoom in LOOKS:
            if faces := await self.batcher.submit(self.canvas(image, zoom=zoom)):
                return faces
        return ()
