"""Watches one source: looks at moving frames, follows faces, decides when a track is sent."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator

from halflight.client import Client, ClientError, Refused, TrackDecision, Unreachable
from service.watch.camera import CameraReader
from service.watch.config import FolderSource, OnvifSource, Source, V4l2Source
from service.watch.folder import FolderReader
from service.watch.frames import Frame, FrameReader, MotionGate, SourceError, jpeg
from service.watch.sending import pause_s, said
from service.watch.snapshots import SnapshotReader
from service.watch.spool import Spool, Waiting
from service.watch.status import SourceStatus
from service.watch.tracking import SeenFace, Track, Tracker
from service.watch.video import VideoReader

# Frames of a live source that wait to be looked at: an older one tells nothing about who stands there now.
MOST_WAITING = 3
# A face in one frame may be none; votes need two anyhow.
LEAST_SHOTS = 2
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0

Report = Callable[[Waiting, TrackDecision], None]


def reader_of(source: Source) -> FrameReader:
    if isinstance(source, FolderSource):
        return FolderReader(source)
    if isinstance(source, V4l2Source):
        return CameraReader(source)
    return SnapshotReader(source) if isinstance(source, OnvifSource) else VideoReader(source)


class SourceWatch(threading.Thread):
    """One source, in a thread of its own; a live one is read by another. `client`: for detection, without
    repetition."""

    def __init__(
        self, source: Source, client: Client, spool: Spool, status: SourceStatus, report: Report
    ) -> None:
        super().__init__(name=f"watch {source.name}", daemon=True)
        self._source, self._client, self._spool = source, client, spool
        self._status, self._report = status, report
        self._reader, self._gate, self._tracker = (
            reader_of(source),
            MotionGate(source.motion),
            Tracker(source),
        )
        # Fewer frames than have to agree would be asked about in vain.
        self._early = max(source.early, source.agree or 0, LEAST_SHOTS)
        self._queue: deque[Frame] = deque(maxlen=MOST_WAITING)
        self._news, self._stopping = threading.Condition(), threading.Event()
        # What is known of tracks that were sent early: guarded by the lock, since the sender brings it.
        self._lock = threading.Lock()
        self._unanswered: set[str] = set()
        self._matched: set[str] = set()
        self._deferred: dict[str, Waiting] = {}

    def stop(self) -> None:
        """Ends the thread: tracks that go on are sent as they are."""
        self._stopping.set()
        with self._news:
            self._news.notify_all()

    def run(self) -> None:
        frames = self._live() if self._reader.live else self._finite()
        for frame in frames:
            if self._stopping.is_set():
                break
            self._status.state = "watching"
            self._status.last_frame = frame.seen_at
            if not self._gate.moves(frame.pixels) and self._tracker.rest(frame.at_s):
                self._status.still += 1
                continue
            faces = self._look(frame)
            if faces is not None:
                self._follow(frame, faces)
        for track in self._tracker.end():
            self._finish(track)
        if self._status.state != "failed":
            self._status.state = "ended"

    def answered(self, waiting: Waiting, answer: TrackDecision | None) -> None:
        """Takes the answer about a track of this source, maybe of an earlier run."""
        if answer is not None and (answer.final or answer.decision == "match"):
            self._status.decided("repeat" if answer.repeat else answer.decision)
            self._report(waiting, answer)
        if waiting.final:
            return
        with self._lock:
            known = waiting.track in self._unanswered
            self._unanswered.discard(waiting.track)
            later = self._deferred.pop(waiting.track, None)
            if answer is not None and answer.decision == "match":
                if known:
                    self._matched.add(waiting.track)
                return
            if later is None and not known and answer is not None:
                # Whoever followed this person was killed: no more frames come.
                later = waiting.model_copy(update={"final": True})
            if later is not None:
                self._spool.add(later)

    def _finite(self) -> Iterator[Frame]:
        try:
            for frame in self._reader.frames():
                self._status.frames += 1
                yield frame
        except SourceError as error:
            self._status.state, self._status.trouble = "failed", str(error)

    def _live(self) -> Iterator[Frame]:
        """Frames as they come; those that come faster than they are looked at are dropped, oldest first."""
        capture = threading.Thread(target=self._capture, name=f"read {self._source.name}", daemon=True)
        capture.start()
        while not self._stopping.is_set():
            with self._news:
                if not self._queue:
                    self._news.wait(0.5)
                frame = self._queue.popleft() if self._queue else None
            if frame is not None:
                yield frame
            elif self._status.state == "waiting":
                # Nobody is followed over a gap in the picture.
                for track in self._tracker.end():
                    self._finish(track)

    def _capture(self) -> None:
        failed = 0
        while not self._stopping.is_set():
            try:
                for frame in self._reader.frames():
                    failed = 0
                    self._status.frames += 1
                    self._status.trouble = None
                    self._enqueue(frame)
                    if self._stopping.is_set():
                        return
            except SourceError as error:
                self._status.state, self._status.trouble = "waiting", str(error)
            failed += 1
            self._status.reconnects += 1
            longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failed - 1, 10))
            self._stopping.wait(longest * random.uniform(0.5, 1))  # noqa: S311 - spreads load, protects nothing

    def _enqueue(self, frame: Frame) -> None:
        with self._news:
            if len(self._queue) == MOST_WAITING:
                self._status.dropped["behind"] += 1
            self._queue.append(frame)
            self._news.notify_all()

    def _look(self, frame: Frame) -> list[SeenFace] | None:
        """The faces of a frame, as the service finds them; None if the frame is given up."""
        failed, data = 0, jpeg(frame.pixels)
        while True:
            try:
                found = self._client.detect(data, spectrum=self._source.spectrum, turn=self._source.turn)
            except ClientError as error:
                failed += 1
                if not isinstance(error, Unreachable) and not _may_pass(error):
                    self._status.trouble = f"a frame was refused: {said(error)}"
                    self._status.dropped["refused"] += 1
                    return None
                self._status.trouble = f"the service is waited for: {said(error)}"
                self._stopping.wait(pause_s(error, failed))
                if self._reader.live or self._stopping.is_set():
                    self._status.dropped["busy"] += 1
                    return None
                continue
            self._status.trouble = None
            self._status.looked_at += 1
            self._status.faces += len(found.results)
            return [
                SeenFace(one.box, one.detection_score, None if one.quality is None else one.quality.score)
                for one in found.results
            ]

    def _follow(self, frame: Frame, faces: list[SeenFace]) -> None:
        before = {track.name for track in self._tracker.tracks}
        ended = self._tracker.update(frame, faces)
        self._status.tracks += sum(track.name not in before for track in self._tracker.tracks)
        for track in ended:
            self._finish(track)
        for track in self._tracker.tracks:
            if track.closed:
                continue
            if track.good >= self._source.enough:
                self._finish(track)
            elif not track.asked and len(track.shots) >= self._early:
                track.asked = True
                with self._lock:
                    self._unanswered.add(track.name)
                self._spool.add(self._request(track, final=False))

    def _finish(self, track: Track) -> None:
        """Sends a track for good, unless it has been, or the service knows already who it is."""
        if track.closed:
            self._matched.discard(track.name)
            return
        track.closed = True
        if len(track.shots) < LEAST_SHOTS:
            self._status.short += 1
            return
        request = self._request(track, final=True)
        with self._lock:
            if track.name in self._matched:
                self._matched.discard(track.name)
            elif track.name in self._unanswered:
                self._deferred[track.name] = request
            else:
                self._spool.add(request)
        track.shots.clear()

    def _request(self, track: Track, *, final: bool) -> Waiting:
        source, shots = self._source, track.shots
        return Waiting(
            number=0,
            source=source.name,
            track=track.name,
            final=final,
            seen_at=shots[0].seen_at,
            spectrum=source.spectrum,
            turn=str(source.turn),
            fmr=source.fmr,
            agree=source.agree,
            quiet_s=source.again_after_s,
            frames=tuple(one.data for one in shots),
        )


def _may_pass(error: ClientError) -> bool:
    return not isinstance(error, Refused) or error.status in (401, 403, 408, 429) or error.status >= 500
