"""The pipeline of every image: decode -> detect -> choose -> align -> describe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from faces import formats
from faces import image as images
from faces.align import AlignError
from faces.frames import ImageSource
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
from service.matching.choice import Choice
from service.settings import Settings
from service.spaces.space import EmbeddingSpace

DECODE_THREADS = 2


class StageTimes:
    """Milliseconds spent in each stage of one request; the stages of several faces add up."""

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


@dataclass(frozen=True, slots=True, eq=False)
class DescribedImage:
    """A decoded image and the descriptions of its chosen faces, at least one."""

    image: Image
    faces: tuple[Description, ...]


@contextmanager
def inference_errors() -> Iterator[None]:
    """Raises the ServiceError for what the inference layer raises."""
    try:
        yield
    except ExceptionGroup as group:
        # The tasks of one face run side by side and fail for one reason: the first is the answer.
        with inference_errors():
            raise group.exceptions[0] from group
    except QueueFull as error:
        raise Overloaded("the inference queue is full; try again") from error
    except BatcherClosed as error:
        raise Draining("the service is shutting down") from error
    except AlignError as error:
        raise LowQuality(
            "the face is too small or its landmarks make no face", reasons=["face_too_small"]
        ) from error


class FacePipeline:
    """The only way from image bytes to faces. It decodes within the configured limits, on own threads."""

    def __init__(self, settings: Settings) -> None:
        self._limits = images.DecodeLimits(
            max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels
        )
        self._pool = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")

    async def detect(
        self,
        space: EmbeddingSpace,
        data: ImageSource,
        spectrum: Spectrum | None,
        times: StageTimes | None = None,
    ) -> tuple[Image, tuple[Face, ...]]:
        """The decoded image and every face in it, largest first; there may be none.

        `spectrum`: None to recognise it from the pixels. Raises ImageTooLarge, UnsupportedMediaType,
        UndecodableImage, Overloaded, Draining.
        """
        times = times or StageTimes()
        with times.stage("decode"):
            image = await self._decode(data, spectrum)
        with times.stage("detect"), inference_errors():
            return image, await space.engine.detector.detect(image)

    async def describe(
        self,
        space: EmbeddingSpace,
        data: ImageSource,
        *,
        spectrum: Spectrum | None,
        choose: Choice,
        role: Role,
        times: StageTimes | None = None,
    ) -> DescribedImage:
        """Describes the faces that `choose` picks: crop, embedding, mask state, quality.

        Raises what `detect` and `choose` raise, and LowQuality if a face cannot be aligned.
        """
        times = times or StageTimes()
        image, faces = await self.detect(space, data, spectrum, times)
        chosen = choose(image, faces)
        with times.stage("embed"):
            # One after the other: a crowded image must not fill the queue that others wait in.
            described = [await self._describe_one(space, image, face, role) for face in chosen]
        return DescribedImage(image, tuple(described))

    def close(self) -> None:
        self._pool.shutdown(wait=True)

    async def _decode(self, data: ImageSource, spectrum: Spectrum | None) -> Image:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._pool, lambda: images.decode(data, limits=self._limits, spectrum=spectrum)
            )
        except formats.ImageError as error:
            raise _decoding_error(error) from error

    @staticmethod
    async def _describe_one(space: EmbeddingSpace, image: Image, face: Face, role: Role) -> Description:
        with inference_errors():
            return await space.engine.describe(image, face, role)


def _decoding_error(error: formats.ImageError) -> ServiceError:
    for kind, answer in (
        (formats.ImageTooLarge, ImageTooLarge),
        (formats.UnsupportedMediaType, UnsupportedMediaType),
    ):
        if isinstance(error, kind):
            return answer(str(error))
    return UndecodableImage(str(error))
