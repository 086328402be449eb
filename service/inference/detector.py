"""Detects the faces of an image with the batched detection network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from faces.bundle import DetectorSpec, LookWindow
from faces.detect import LOOKS, Placement, canvas_input, decode, letterbox, turned_canvas
from faces.second_look import LOWEST_AGAIN, doubtful, rescored, score_in, window_canvas
from faces.types import Box, Face, Image, Turn
from faces.verifier import judged, nobody_clear, verifier_input
from service.inference.batcher import Batcher, Observe
from service.inference.session import OnnxSession
from service.inference.verifier import FaceVerifier

# Detections between this score and the one asked for are counted, not described.
LOWEST_SCORE = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class DetectorInput:
    """A letterboxed image. `pixels`: uint8 [side, side, 3]; `image_size`: (width, height) of the original.

    `min_score`: the lowest score of a face; None for the detector's own threshold.
    """

    pixels: NDArray[np.uint8]
    placement: Placement
    image_size: tuple[int, int]
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class Detected:
    """The faces of an image, largest first, and how many detections scored `below` what was asked.

    `others`: those detections.
    """

    faces: tuple[Face, ...]
    below: int
    others: tuple[Face, ...] = ()


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
        verifier: FaceVerifier | None = None,
    ) -> None:
        """`verifier`: the network that `spec.verifier` describes. Raises ValueError if one is there without
        the other."""
        if (spec.verifier is None) != (verifier is None):
            raise ValueError("a detector has a verifier exactly if its specification names one")
        self._spec, self._session, self.verifier = spec, session, verifier
        lowest = min(LOWEST_SCORE, spec.score_threshold)
        self._decoded = spec.model_copy(update={"score_threshold": lowest})
        self.batcher: Batcher[DetectorInput, Detected] = Batcher(
            self.run,
            name="detect",
            max_batch=max_batch,
            max_queue=max_queue,
            key=lambda canvas: canvas.placement.canvas_px,
            observe=observe,
        )

    @property
    def canvas_px(self) -> tuple[int, ...]:
        return tuple(self._spec.canvas_px)

    @property
    def clear_score(self) -> float | None:
        """The score that no doubtful detection is ever judged to have; None if there is none such.

        A verifier keeps what it judges below it; a second look alone does not.
        """
        spec = self._spec
        if spec.verifier is None:
            return None if spec.second_look else spec.score_threshold
        return max(spec.score_threshold, spec.verifier.below)

    def prepare(self, image: Image, *, zoom: float = 1.0, min_score: float | None = None) -> DetectorInput:
        """Letterboxes an image onto the smallest canvas that holds it."""
        pixels, placement = letterbox(image, canvas_px=self._spec.canvas_px, zoom=zoom)
        return DetectorInput(pixels, placement, (image.width, image.height), min_score)

    def turned(self, given: DetectorInput, turn: Turn) -> DetectorInput:
        """What `prepare` makes of the picture turned clockwise, from what it has made of the picture."""
        pixels = turned_canvas(given.pixels, given.placement, turn, image_size=given.image_size)
        size = given.image_size if turn in (0, 180) else given.image_size[::-1]
        return replace(given, pixels=pixels, image_size=size)

    def run(self, canvases: Sequence[DetectorInput]) -> list[Detected]:
        """Runs one forward pass over canvases of one size; returns what is found in each."""
        normalisation = self._spec.normalisation
        batch = np.stack([canvas_input(canvas.pixels, normalisation) for canvas in canvases])
        outputs = self._session.run(batch)
        return [
            self._split(
                decode(
                    {name: values[i] for name, values in outputs.items()},
                    canvas.placement,
                    spec=self._decoded,
                    image_size=canvas.image_size,
                ),
                canvas.min_score,
            )
            for i, canvas in enumerate(canvases)
        ]

    def _split(self, found: Sequence[Face], min_score: float | None) -> Detected:
        lowest = self._spec.score_threshold if min_score is None else min_score
        faces = tuple(face for face in found if face.score >= lowest)
        others = tuple(face for face in found if face.score < lowest)
        return Detected(faces, len(others), others)

    async def _look_again(self, image: Image, found: Detected, min_score: float | None) -> Detected:
        """What is found, with the doubtful detections seen again in windows of their own and judged."""
        faces, spec = [*found.faces, *found.others], self._spec
        chosen = doubtful(faces, spec)
        if not chosen:
            return found

        async def seen(box: Box, window: LookWindow) -> float:
            side = spec.look_px(window)
            pixels = await asyncio.to_thread(window_canvas, image, box, window, side_px=side)
            shown = DetectorInput(pixels, Placement(1.0, side), (side, side), LOWEST_AGAIN)
            return score_in((await self.batcher.submit(shown)).faces, box, window, side_px=side)

        done = [faces[i] for i in chosen]
        if spec.second_look is not None:
            for number, face in enumerate(done):
                # One detection after the other: a crowd must not fill the queue that others wait in.
                windows = spec.second_look.windows
                seconds = await asyncio.gather(*(seen(face.box, window) for window in windows))
                done[number] = rescored(face, seconds, spec)
        if spec.verifier is not None and self.verifier is not None:
            crops = await asyncio.to_thread(verifier_input, image, done, spec.verifier)
            logits = await self.verifier.judge(crops)
            done = judged(done, logits, spec, nobody_else=nobody_clear(faces, spec))
        for i, face in zip(chosen, done, strict=True):
            faces[i] = face
        return self._split(sorted(faces, key=lambda face: -face.box.area), min_score)

    async def clear_in_turns(self, given: DetectorInput, turns: Sequence[Turn]) -> dict[Turn, Sequence[Face]]:
        """The clear faces of a prepared picture turned clockwise by each of `turns`, in the turned pixels.

        Doubtful detections are left out, so no turn costs a second look. Raises QueueFull, BatcherClosed.
        """
        # In a thread: large canvases would hold up every other request.
        looks = await asyncio.to_thread(lambda: [self.turned(given, turn) for turn in turns])
        clear = [replace(look, min_score=self.clear_score) for look in looks]
        found = await asyncio.gather(*map(self.batcher.submit, clear))
        return {turn: each.faces for turn, each in zip(turns, found, strict=True)}

    async def detect(
        self,
        image: Image,
        *,
        min_score: float | None = None,
        looks: Sequence[float] = LOOKS,
        first: DetectorInput | None = None,
    ) -> Detected:
        """Returns the faces in pixels of the image; there may be none. Doubtful ones have had their
        verdict or second look.

        Repeats the detection at other zooms (`looks`) until it finds a face; without one, `below` is that
        of the look that came closest. `min_score`: None for the detector's own threshold. `first`: the image
        prepared for the first look. Raises QueueFull, BatcherClosed.
        """
        below = 0
        for number, zoom in enumerate(looks):
            if number == 0 and first is not None:
                canvas = replace(first, min_score=min_score)
            else:
                # In a thread: a large photo would hold up every other request.
                canvas = await asyncio.to_thread(self.prepare, image, zoom=zoom, min_score=min_score)
            found = await self._look_again(image, await self.batcher.submit(canvas), min_score)
            if found.faces:
                return found
            below = max(below, found.below)
        return Detected((), below)
