"""The messages between the service and a decoding worker: JSON, since neither side may trust a pickle.

A photo and its pixels do not travel in messages but in shared memory, whose descriptors go with the job.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from faces import formats
from faces.frames import FrameFormat, InvalidFrame
from faces.image import DecodeLimits
from faces.types import Spectrum

MAX_MESSAGE_BYTES = 1 << 16
REFUSALS: dict[str, type[formats.ImageError]] = {
    kind.__name__: kind
    for kind in (
        formats.ImageTooCostly,
        formats.ImageTooLarge,
        formats.UndecodableImage,
        formats.UnsupportedMediaType,
        InvalidFrame,
    )
}
# What the service answers to `Asks`: decode, into the memory that comes with it, or there is no room now.
GO, STOP = b"go", b"stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One photo of `source_bytes` bytes to decode, and the canvases of the detector that will look at it.

    `layout`: of a raw frame. `spectrum`: None to recognise it. `granted_pixels`: what it may decode to
    without asking. `cpu_s`: the computing that it may take.
    """

    source_bytes: int
    layout: FrameFormat | None
    spectrum: Spectrum | None
    canvas_px: tuple[int, ...]
    limits: DecodeLimits
    granted_pixels: int
    cpu_s: float

    def to_wire(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def parse(cls, message: bytes) -> Job:
        values = json.loads(message)
        layout, spectrum = values.pop("layout"), values.pop("spectrum")
        return cls(
            **values | {"canvas_px": tuple(values["canvas_px"]), "limits": DecodeLimits(**values["limits"])},
            layout=None if layout is None else FrameFormat(**layout),
            spectrum=None if spectrum is None else Spectrum(spectrum),
        )


@dataclass(frozen=True, slots=True)
class Asks:
    """The picture has so many pixels: is there room?"""

    pixels: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The photo is refused: `kind` is a name of `REFUSALS`; the text may be shown to its sender."""

    kind: str
    text: str

    def error(self) -> formats.ImageError:
        return REFUSALS[self.kind](self.text)


@dataclass(frozen=True, slots=True)
class Done:
    """The shared memory holds uint8 [height, width, 3], then a canvas uint8 [side, side, 3].

    `given`: (width, height) of the given picture. `scale`: canvas / given picture.
    """

    width: int
    height: int
    given: tuple[int, int]
    spectrum: Spectrum
    side: int
    scale: float

    @property
    def pixel_bytes(self) -> int:
        return 3 * self.width * self.height

    @property
    def total_bytes(self) -> int:
        return self.pixel_bytes + 3 * self.side * self.side


Answer = Asks | Refused | Done


def to_wire(answer: Answer) -> bytes:
    return json.dumps({"answer": type(answer).__name__} | asdict(answer)).encode()


def parse_answer(message: bytes) -> Answer:
    """Raises ValueError for anything that is no answer: a worker may be in a stranger's hands."""
    try:
        values = json.loads(message)
        match values.pop("answer"):
            case "Asks":
                return Asks(_count(values["pixels"]))
            case "Refused" if values["kind"] in REFUSALS:
                return Refused(values["kind"], str(values["text"])[:500])
            case "Done":
                width, height = (_count(side) for side in values["given"])
                return Done(
                    _count(values["width"]),
                    _count(values["height"]),
                    (width, height),
                    Spectrum(values["spectrum"]),
                    _count(values["side"]),
                    float(values["scale"]),
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no answer of a decoding worker") from error
    raise ValueError("no answer of a decoding worker")


def _count(value: object) -> int:
    if not isinstance(value, int) or not 0 < value < 1 << 32:
        raise ValueError("no number of pixels")
    return value
