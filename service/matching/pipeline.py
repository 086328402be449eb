"""The pipeline of every image: decode -> detect -> choose -> align -> describe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from faces import formats
from faces.align import AlignError
from faces.detect import LOOKS
from faces.frames import ImageSource
from faces.image import is_clearly_colour
from faces.orientation import best_turn, is_clearly_upright, turn_after, turned, turned_back, uprightness
from faces.spectrum import spectrum_of_face
from faces.types import TURNS, Face, Image, Role, Spectrum, Turn
from service.errors import (
    Draining,
    ImageTooCostly,
    ImageTooLarge,
    LowQuality,
    Overloaded,
    ServiceError,
    UndecodableImage,
    UnsupportedMediaType,
    WrongSpectrum,
)
from service.inference.batcher import BatcherClosed, QueueFull
from service.inference.caller import while_present
from service.inference.decoding import DecodedPhoto, Decoder
from service.inference.detector import Detected, Detector
from service.inference.engine import Description, FacesFound
from service.inference.quality import Quality
from service.matching.choice import Choice, meant
from service.settings import Settings
from service.spaces.space import EmbeddingSpace
from service.tracing import stage_span

TURN_THREADS = 2


class StageTimes:
    """Milliseconds spent in each stage of one request; the stages of several faces add up."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._ms: dict[str, float] = dict.fromkeys(("decode", "detect", "embed", "search"), 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            with stage_span(name):
                yield
        finally:
            self._ms[name] += (time.perf_counter() - started) * 1000

    def as_ms(self) -> dict[str, float]:
        total = (time.perf_counter() - self._started) * 1000
        return {name: round(value, 2) for name, value in (self._ms | {"total": total}).items()}


@dataclass(frozen=True, slots=True, eq=False)
class DescribedImage:
    """A decoded image and the descriptions of its chosen faces, at least one.

    `sure`: whether one way up fits the faces clearly better than the others.
    """

    image: Image
    faces: tuple[Description, ...]
    sure: bool = True


@dataclass(frozen=True, slots=True)
class SeenFace:
    """A face in pixels of the given image, and its quality, None if it cannot be aligned."""

    face: Face
    quality: Quality | None


@dataclass(frozen=True, slots=True, eq=False)
class SeenImage:
    """A decoded image and every face in it, largest first; there may be none."""

    image: Image
    faces: tuple[SeenFace, ...]
    among: FacesFound


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The picture turned clockwise by `turn`, where its faces stand upright, and these faces."""

    image: Image
    detected: Detected
    turn: Turn
    sure: bool

    @property
    def faces(self) -> tuple[Face, ...]:
        return self.detected.faces

    @property
    def among(self) -> FacesFound:
        return FacesFound(found=len(self.faces), below=self.detected.below)


@contextmanager
def counted(among: FacesFound) -> Iterator[None]:
    """Adds to a refusal how many faces were found."""
    try:
        yield
    except ServiceError as error:
        error.extra |= {"faces_found": among.found, "faces_below_score": among.below}
        raise


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
    """The only way from image bytes to faces. `decoder` decodes; own threads turn what it has decoded."""

    def __init__(self, settings: Settings, decoder: Decoder) -> None:
        self._decoder, self._min_score = decoder, settings.min_detection_score
        self._pool = ThreadPoolExecutor(TURN_THREADS, thread_name_prefix="turn")

    async def detect(
        self,
        space: EmbeddingSpace,
        data: ImageSource,
        spectrum: Spectrum | None,
        times: StageTimes | None = None,
        *,
        min_score: float | None = None,
        turn: Turn | None = None,
    ) -> SeenImage:
        """The decoded image and every face in it with its quality; nothing is embedded.

        `spectrum`: None to recognise it on the meant face. `min_score`: None for the setting's, or else the
        detector's own. `turn`: as `describe` takes it. Raises ImageTooLarge, ImageTooCostly,
        UnsupportedMediaType, UndecodableImage, Overloaded, Draining.
        """
        times = times or StageTimes()
        with times.stage("decode"):
            photo = await self._decode(space, data, spectrum)
        image = photo.image
        with times.stage("detect"), inference_errors():
            found = await self._find(space, photo, min_score=min_score, turn=turn)
            if spectrum is None and found.faces:
                image = relit(image, (await self._relit(found, meant(found.faces))).image.spectrum)
            # The quality is that of the upright face, as an enrolment measures it.
            qualities = await asyncio.get_running_loop().run_in_executor(
                self._pool, lambda: [space.engine.assess(found.image, face) for face in found.faces]
            )
        seen = zip(found.faces, qualities, strict=True)
        faces = tuple(SeenFace(_given(face, found.turn, image), quality) for face, quality in seen)
        return SeenImage(image, faces, found.among)

    async def describe(
        self,
        space: EmbeddingSpace,
        data: ImageSource,
        *,
        spectrum: Spectrum | None,
        choose: Choice,
        role: Role,
        times: StageTimes | None = None,
        every_turn: bool = False,
        min_score: float | None = None,
        turn: Turn | None = None,
    ) -> DescribedImage:
        """Describes the faces that `choose` picks: crop, embedding, mask state, quality.

        `every_turn`: compare the quarter turns even for a face that looks clearly upright: of faces that
        are upside down, 1 in 50 does. `turn`: how far the picture must be turned clockwise, where that is
        known; None to find out.
        Raises what `detect` and `choose` raise, LowQuality if a face cannot be aligned, and WrongSpectrum if
        a colour photo is said to be NIR.
        """
        times = times or StageTimes()
        with times.stage("decode"):
            photo = await self._decode(space, data, spectrum)
        image = photo.image
        with times.stage("detect"), inference_errors():
            found = await self._find(space, photo, every_turn=every_turn, min_score=min_score, turn=turn)
        with counted(found.among):
            chosen = choose(found.image, found.faces)
        if spectrum is None:
            found = await self._relit(found, meant(chosen))
        with times.stage("embed"):
            # One after the other: a crowded image must not fill the queue that others wait in.
            described = [await self._describe_one(space, found.image, face, role) for face in chosen]
        if spectrum is Spectrum.NIR and any(_is_colour(found.image, each) for each in described):
            raise WrongSpectrum("a colour photo was sent as `nir`; send it as `vis`")
        given = [
            replace(each, face=_given(each.face, found.turn, image), among=found.among) for each in described
        ]
        return DescribedImage(image, tuple(given), found.sure)

    async def _relit(self, found: _Found, face: Face) -> _Found:
        """The same find in the spectrum that its face shows."""
        told = await asyncio.get_running_loop().run_in_executor(
            self._pool, spectrum_of_face, found.image, face
        )
        return found if told is found.image.spectrum else replace(found, image=relit(found.image, told))

    async def _find(
        self,
        space: EmbeddingSpace,
        photo: DecodedPhoto,
        *,
        every_turn: bool = False,
        min_score: float | None = None,
        turn: Turn | None = None,
    ) -> _Found:
        """The faces of the picture turned by a known `turn`, or else in the turn that is looked for.

        With `every_turn` a known turn is checked: it is not sure where a face stands better in another.
        """
        if turn is None:
            return await self._find_upright(space, photo, every_turn=every_turn, min_score=min_score)
        if turn:
            loop = asyncio.get_running_loop()
            known = await loop.run_in_executor(self._pool, turned, photo.image, turn)
            # The decoder has prepared the detector's first look of the picture as it came.
            photo = replace(photo, image=known, first_look=None)
        if every_turn:
            found = await self._find_upright(space, photo, every_turn=True, min_score=min_score)
            return replace(found, turn=turn_after(turn, found.turn), sure=found.turn == 0)
        lowest = self._min_score if min_score is None else min_score
        detected = await space.engine.detector.detect(photo.image, min_score=lowest, first=photo.first_look)
        return _Found(photo.image, detected, turn, sure=True)

    async def _find_upright(
        self,
        space: EmbeddingSpace,
        photo: DecodedPhoto,
        *,
        every_turn: bool,
        min_score: float | None,
    ) -> _Found:
        """The faces, largest first, in the quarter turn of the image where the meant one is most upright.

        Tries the other turns where the meant face is not clearly upright or there is none.
        """
        detector, loop, image = space.engine.detector, asyncio.get_running_loop(), photo.image
        lowest = self._min_score if min_score is None else min_score
        given = await detector.detect(image, min_score=lowest, first=photo.first_look)
        if given.faces and is_clearly_upright(meant(given.faces)) and not every_turn:
            return _Found(image, given, turn=0, sure=True)
        if (sure := await self._is_upright_as_given(detector, photo, given)) is not None:
            return _Found(image, given, turn=0, sure=sure)
        tried: dict[Turn, Detected] = {0: given} if given.faces else {}
        for turn in TURNS[1:]:
            other = await loop.run_in_executor(self._pool, turned, image, turn)
            # One look: where a face is upright, it is seen at once.
            others = await detector.detect(other, min_score=lowest, looks=LOOKS[:1])
            if others.faces:
                tried[turn] = others
        if not tried:
            return _Found(image, given, turn=0, sure=False)
        turn, sure = best_turn({each: meant(found.faces) for each, found in tried.items()})
        if turn == 0:
            return _Found(image, tried[0], turn=0, sure=sure)
        other = await loop.run_in_executor(self._pool, turned, image, turn)
        return _Found(other, tried[turn], turn, sure)

    async def _is_upright_as_given(
        self, detector: Detector, photo: DecodedPhoto, given: Detected
    ) -> bool | None:
        """Whether it is sure that the meant face stands upright; None if it may stand so in another turn.

        Where it scores more than any doubtful detection can, only clear ones can stand better. They are
        looked for on the turned canvas of the first look, which is small, and at once.
        """
        clear = detector.clear_score
        if clear is None or not given.faces or uprightness(meant(given.faces)) < clear:
            return None
        loop, canvas = asyncio.get_running_loop(), photo.first_look
        if canvas is None:
            canvas = await loop.run_in_executor(self._pool, detector.prepare, photo.image)
        others = await detector.clear_in_turns(canvas, TURNS[1:])
        faces: dict[Turn, Face] = {0: meant(given.faces)}
        faces |= {turn: meant(found) for turn, found in others.items() if found}
        turn, sure = best_turn(faces)
        return sure if turn == 0 else None

    async def close(self) -> None:
        await self._decoder.close()
        self._pool.shutdown(wait=True)

    async def _decode(
        self, space: EmbeddingSpace, data: ImageSource, spectrum: Spectrum | None
    ) -> DecodedPhoto:
        """Raises CallerGone as soon as nobody waits for the answer, besides what `detect` raises."""
        canvas_px = space.engine.detector.canvas_px
        try:
            return await while_present(self._decoder.decode(data, spectrum, canvas_px))
        except formats.ImageError as error:
            raise _decoding_error(error) from error

    @staticmethod
    async def _describe_one(space: EmbeddingSpace, image: Image, face: Face, role: Role) -> Description:
        with inference_errors():
            return await space.engine.describe(image, face, role)


def _is_colour(image: Image, described: Description) -> bool:
    """Whether a face that was sent as NIR is of visible light beyond doubt: a drawn box or the noise of a
    camera alone must not refuse a frame."""
    # The crop first: it is small, and hardly any face that was sent as NIR gets past it.
    clear = is_clearly_colour(described.crop.pixels)
    return clear and spectrum_of_face(image, described.face) is Spectrum.VIS


def relit(image: Image, spectrum: Spectrum) -> Image:
    """The same pixels as a picture of this spectrum."""
    return replace(image, spectrum=spectrum)


def _given(face: Face, turn: Turn, image: Image) -> Face:
    """A face of the turned image, in pixels of the given one."""
    return turned_back(face, turn, width=image.width, height=image.height) if turn else face


def _decoding_error(error: formats.ImageError) -> ServiceError:
    for kind, answer in (
        (formats.ImageTooCostly, ImageTooCostly),
        (formats.ImageTooLarge, ImageTooLarge),
        (formats.UnsupportedMediaType, UnsupportedMediaType),
    ):
        if isinstance(error, kind):
            return answer(str(error))
    return UndecodableImage(str(error))
