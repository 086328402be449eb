"""Reads a camera of this machine: grey levels as the driver gives them, everything else through FFmpeg."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from service.watch.config import V4l2Source
from service.watch.frames import Frame, SourceError
from service.watch.grey import BY_NAME, FORMATS, GreyFormat, Reduction
from service.watch.v4l2 import Camera, CameraError
from service.watch.video import VideoReader

FRAME_S = 10.0


class CameraReader:
    """A camera that is opened anew for each call of `frames`: it may be another by then."""

    def __init__(self, source: V4l2Source) -> None:
        self._source, self.live = source, True

    def frames(self) -> Iterator[Frame]:
        """Frames as the camera gives them, `fps` a second at most. Raises SourceError."""
        try:
            with Camera(self._source.device) as camera:
                chosen = self._format(camera)
                if chosen is not None:
                    yield from self._grey(camera, *self._prepared(camera, chosen))
        except CameraError as error:
            raise _unreadable(error) from None
        yield from VideoReader(self._source).frames()

    def check(self) -> str:
        """Opens the camera, waits for a frame, and says what it gives. Raises SourceError."""
        try:
            with Camera(self._source.device) as camera:
                chosen = self._format(camera)
                if chosen is not None:
                    said = self._prepared(camera, chosen)[2]
                    camera.start()
                    camera.take(FRAME_S)
                    return said
        except CameraError as error:
            raise _unreadable(error) from None
        for frame in VideoReader(self._source).frames():
            return f"{frame.pixels.shape[1]}x{frame.pixels.shape[0]}, read by FFmpeg"
        raise SourceError("the v4l2 source has ended")

    def _format(self, camera: Camera) -> GreyFormat | None:
        """The grey format to read; None if FFmpeg reads the camera."""
        source = self._source
        if source.input_format is not None:
            return None
        offered = camera.codes()
        grey = [one for one in FORMATS if one.code in offered]
        if source.pixel_format != "auto":
            if BY_NAME[source.pixel_format] not in grey:
                has = ", ".join(_name(code) for code in offered) or "nothing"
                raise CameraError(f"it does not offer {source.pixel_format}, but {has}")
            return BY_NAME[source.pixel_format]
        # A camera with colours may offer grey too: without its colours `auto` would take it for NIR.
        wanted = source.spectrum == "nir" or len(grey) == len(offered)
        return grey[0] if grey and wanted else None

    def _prepared(self, camera: Camera, chosen: GreyFormat) -> tuple[Reduction, int, str]:
        """Sets the format. Returns how to reduce it, the bytes from row to row, and both in words."""
        source = self._source
        code, width, height, stride = camera.choose(chosen.code, source.pixels_asked)
        if code != chosen.code:
            raise CameraError(f"it gives {_name(code)} when asked for {chosen.name}")
        if source.pixels_asked not in (None, (width, height)):
            raise CameraError(f"it gives {width}x{height} when asked for {source.size}")
        rate = "" if source.rate is None else f" at {camera.choose_rate(source.rate):g} frames a second"
        white = chosen.brightest if source.white is None else source.white
        said = f"{width}x{height} {chosen.name}{rate}, white at {white}"
        stride = max(stride, chosen.row_bytes(width))
        return Reduction(chosen, width, height, source.white), stride, said

    def _grey(self, camera: Camera, reduction: Reduction, stride: int, _said: str) -> Iterator[Frame]:
        camera.start()
        began = whole = time.monotonic()
        every_s, next_s = 1.0 / self._source.fps, 0.0
        while True:
            place, used = camera.take(FRAME_S)
            now, frame = time.monotonic(), None
            if used >= reduction.smallest(stride):
                whole = now
                if now - began >= next_s:
                    # Frames come by the clock of the camera: one that is a little early is not left out.
                    next_s = now - began + every_s * 0.9
                    pixels = reduction.pixels(camera.bytes_at(place), stride)
                    frame = Frame(pixels, now - began, datetime.now(UTC), None)
            elif now - whole > FRAME_S:
                raise CameraError(f"no whole frame for {FRAME_S:g} s")
            camera.give_back(place)
            if frame is not None:
                yield frame


def _name(code: int) -> str:
    text = (code & 0x7FFFFFFF).to_bytes(4, "little").decode("ascii", "replace").strip()
    return text + "BE" * bool(code >> 31)


def _unreadable(error: CameraError) -> SourceError:
    return SourceError(f"the v4l2 source cannot be read: {error}")
