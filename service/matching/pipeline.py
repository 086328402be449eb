"""From bytes to described faces: the way every request with an image begins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from faces import image as images
from faces.align import AlignError
from faces.types import Face, Image, Role, Spectrum
from service.errors import (
    Draining,
    ImageTooLarge,
    LowQuality,
    Overloaded,
    ServiceError,
    UndecodableImage,
    UnsupportedMediaType,
)
from service.inference.batcher import BatcherClosed, QueueFull
from service.inference.engine import Description
from service.settings import Settings
from service.spaces.registry import EmbeddingSpace

DECODERS = 2


class StageTimes:
    """Milliseconds spent in each stage of one request; stages of several faces add up."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._ms: dict[str, float] = dict.fromkeys(("decode", "detect", "embed", "search"), 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._ms[name] += (time.perf_counter() - started) * 1000

    def as_ms(self) -> dict[str, float]:
        total = (time.perf_counter() - self._started) * 1000
        return {name: round(value, 2) for name, value in (self._ms | {"total": total}).items()}


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the inference layer raises into what a client is told."""
    try:
        yield
    except ExceptionGroup as group:
        # Tasks of one face run side by side and fail for one reason: the first is the answer.
        with refusals():
            raise group.exceptions[0] from group
    except QueueFull as error:
        raise Overloaded("the inference queue is full; try again") from error
    except BatcherClosed as error:
        raise Draining("the service is shutting down") from error
    except AlignError as error:
        raise LowQuality(
            "the face is too small or its landmarks make no face", reasons=["face_too_small"]
        ) from error


class Intake:
    """Decodes within the configured limits, on threads of its own."""

    def __init__(self, settings: Settings) -> None:
        self._limits = images.DecodeLimits(
            max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels
        )
        self._pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")

    async def decode(self, data: bytes, spectrum: Spectrum | None) -> Image:
        """Raises ImageTooLarge, UnsupportedMediaType, UndecodableImage (service.errors)."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._pool, lambda: images.decode(data, limits=self._limits, spectrum=spectrum)
            )
        except images.ImageError as error:
            raise _told(error) from error

    async def detect(self, space: EmbeddingSpace, image: Image) -> tuple[Face, ...]:
        """Every face, largest first. Raises Overloaded, Draining."""
        with refusals():
            return await space.engine.detector.detect(image)

    async def describe(self, space: EmbeddingSpace, image: Image, face: Face, role: Role) -> Description:
        """Raises LowQuality where the face cannot be aligned, Overloaded, Draining."""
        with refusals():
            return await space.engine.describe(image, face, role)

    def close(self) -> None:
        self._pool.shutdown(wait=True)


def _told(error: images.ImageError) -> ServiceError:
    for kind, told in (
        (images.ImageTooLarge, ImageTooLarge),
        (images.UnsupportedMediaType, UnsupportedMediaType),
    ):
        if isinstance(error, kind):
            return told(str(error))
    return UndecodableImage(str(error))
