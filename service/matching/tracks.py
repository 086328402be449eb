"""Use case: whose face do these frames of one person show?"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import astuple, dataclass, replace
from datetime import datetime

from faces.frames import ImageSource
from faces.frames import digest as image_digest
from service.errors import RetryLater, ServiceError
from service.matching.comparison import Comparer
from service.matching.pipeline import StageTimes
from service.matching.rules import Options
from service.matching.voting import Frame
from service.spaces.space import EmbeddingSpace

# Enough to fill a batch with others' requests, and few enough to leave them most of the queue.
FRAMES_AT_ONCE = 4
# Refusals that are about one image; any other is about the whole request.
OF_A_FRAME = frozenset(
    {"no_face", "low_quality", "wrong_spectrum", "undecodable_image", "unsupported_media_type"}
    | {"image_too_large", "image_too_costly"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRequest:
    """What a client asks for. `actor`: the id of its key. `track`: its own name of the track.

    `agree`: how many frames have to. `seen_at`: when the camera saw the person. `quiet_s`: the same subject
    before the same camera within so many seconds is a repetition. `final`: whether no more frames will come.
    """

    actor: str
    track: str
    images: tuple[ImageSource, ...]
    options: Options
    agree: int
    seen_at: datetime
    quiet_s: float
    final: bool
    idempotency_key: str | None = None

    def digest(self) -> str:
        """SHA-256 of the request: two requests with one idempotency key must agree in it."""
        parts = [image_digest(image) for image in self.images]
        content = [self.track, parts, self.agree, self.quiet_s, self.final, [*astuple(self.options)]]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()


async def identify_frames(
    comparer: Comparer, space: EmbeddingSpace, asked: TrackRequest, times: StageTimes
) -> tuple[Frame, ...]:
    """Identifies the largest face of each frame. A frame without a usable face is no error.

    Raises RetryLater, and what is wrong with the options, such as UnsupportedFmrPoint.
    """
    places, options = asyncio.Semaphore(FRAMES_AT_ONCE), replace(asked.options, every_face=False)

    async def identify(index: int, image: ImageSource) -> Frame:
        async with places:
            try:
                (found,) = await comparer.identify(space, image, options, times)
            except RetryLater:
                raise
            except ServiceError as error:
                if error.code not in OF_A_FRAME:
                    raise
                return Frame(index, None, error)
            return Frame(index, found)

    return tuple(await asyncio.gather(*(identify(i, image) for i, image in enumerate(asked.images))))
