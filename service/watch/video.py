"""Reads video through PyAV: recorded files, RTSP streams and cameras of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame

from service.watch.config import FileSource, RtspSource, V4l2Source
from service.watch.frames import Frame, Pixels, SourceError

# Formats whose first plane is the luma, one byte a pixel.
PLANAR = frozenset(
    {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "nv21", "gray"}
)


class VideoReader:
    """One of the sources that FFmpeg reads. Frames that nobody looks at are decoded and not converted."""

    def __init__(self, source: RtspSource | FileSource | V4l2Source) -> None:
        self._source = source
        self.live = not isinstance(source, FileSource)

    def frames(self) -> Iterator[Frame]:
        """Frames in time order, as many a second as the source asks for. Raises SourceError."""
        try:
            with closing(self._open()) as container:
                yield from self._sampled(container)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"the {self._source.kind} source cannot be read ({type(error).__name__})"
            ) from None
        if self.live:
            raise SourceError(f"the {self._source.kind} source has ended")

    def _open(self) -> InputContainer:
        source = self._source
        if isinstance(source, FileSource):
            return av.open(str(source.path))
        if isinstance(source, RtspSource):
            options = {"rtsp_transport": source.transport, "fflags": "nobuffer", "analyzeduration": "500000"}
            return av.open(source.address, options=options, timeout=source.timeout_s)
        rate = None if source.rate is None else str(source.rate)
        asked = {"video_size": source.size, "input_format": source.input_format, "framerate": rate}
        return av.open(
            source.device,
            format="v4l2",
            options={k: v for k, v in asked.items() if v is not None},
            timeout=10.0,
        )

    def _sampled(self, container: InputContainer) -> Iterator[Frame]:
        stream = container.streams.video[0]
        # Several sources share the machine: each decodes in one thread.
        stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
        every_s, next_s, count = 1.0 / self._source.fps, -1.0, 0
        began, place = self._began(container)
        for decoded in container.decode(stream):
            count += 1
            rate = float(stream.average_rate or 25)
            at_s = count / rate if decoded.time is None else float(decoded.time)
            # A stream that starts its clock anew goes on being looked at.
            if next_s - every_s * 2 <= at_s < next_s:
                continue
            next_s = at_s + every_s * 0.999
            seen_at = datetime.now(UTC) if began is None else began + timedelta(seconds=at_s)
            yield Frame(
                self._pixels(decoded), at_s, seen_at, None if place is None else f"{place}:{at_s:.3f}"
            )

    def _began(self, container: InputContainer) -> tuple[datetime | None, str | None]:
        """When a file begins, and what names it; nothing of a live source."""
        source = self._source
        if not isinstance(source, FileSource):
            return None, None
        about = source.path.stat()
        place = f"{source.path.name}:{about.st_size}:{about.st_mtime_ns}"
        if source.began_at is not None:
            return source.began_at.astimezone(UTC), place
        lasts = 0.0 if container.duration is None else container.duration / av.time_base
        return datetime.fromtimestamp(about.st_mtime, UTC) - timedelta(seconds=lasts), place

    def _pixels(self, decoded: VideoFrame) -> Pixels:
        if self._source.spectrum != "nir":
            return np.ascontiguousarray(decoded.to_ndarray(format="bgr24"), np.uint8)
        if decoded.format.name not in PLANAR:
            return np.ascontiguousarray(decoded.to_ndarray(format="gray"), np.uint8)
        plane: Any = decoded.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        return np.ascontiguousarray(rows[: decoded.height, : decoded.width])
