"""Decodes photos in a bounded pool of processes, each within limits of time and memory.

A photo that does not keep to the limits, or whose caller has gone, costs the process that decodes it.
The others go on, and the next photo finds a new one.
"""

from __future__ import annotations

import asyncio
import signal
import time
import weakref
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from faces.decoding.messages import GO, STOP, Answer, Asks, Done, Job, Refused, parse_answer
from faces.detect import Placement
from faces.formats import ImageTooCostly, UndecodableImage
from faces.frames import ImageSource, RawFrame
from faces.image import DecodeLimits
from faces.types import Image, Pixels, Spectrum
from service.errors import Overloaded
from service.inference.decode_host import USUAL_BYTES, DecodeHost, HostGone, Worker
from service.inference.detector import DetectorInput
from service.inference.pixel_budget import PixelBudget
from service.inference.shared_memory import SharedMemory
from service.inference.worker_queue import WorkerQueue
from service.settings import Settings
from service.telemetry import Metrics

log = structlog.get_logger("halflight.decoding")

# A picture of more pixels is held at a part of its size; the memory of its decoding goes with its worker.
WORK_PIXELS = 16_000_000
# Most photos are no larger than this. Their pixels and the canvas fit into USUAL_BYTES, unless the detector
# has a very large one.
USUAL_PIXELS = 2_000_000
# A worker is replaced after so many photos: what a decoder leaks must not become a photo's fault.
PHOTOS_A_WORKER = 1000
# What ends a worker from outside: the timer of `faces.decoding.worker`, the kernel short of memory.
REASONS = {-signal.SIGPROF: "time", -signal.SIGKILL: "memory"}
# More bytes than this are copied in a thread.
SMALL_BYTES = 1 << 20
RETRY_S = 1.0


class _WorkerFailed(Exception):
    """A worker has ended amid a photo, or answers nonsense."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPhoto:
    """A decoded image, letterboxed for the detector's first look. Its pixels are shared memory.

    `first_look`: None once the image was turned.
    """

    image: Image
    first_look: DetectorInput | None


class Decoder:
    """Decodes one photo for each of `decode_workers` processes at a time; others wait for their turn."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._limits = DecodeLimits(
            max_bytes=settings.max_image_bytes,
            max_pixels=settings.max_image_pixels,
            work_pixels=WORK_PIXELS,
        )
        self._host = DecodeHost(settings.decode_memory_bytes)
        self._budget = PixelBudget(settings.max_work_pixels)
        self._workers = WorkerQueue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        metrics.decode_waiting.set_function(lambda: self._workers.waiting)
        metrics.pixels_in_work.set_function(lambda: self._budget.in_work)

    def start(self) -> None:
        """Starts the workers, within the event loop; photos wait until they are there."""
        for _ in range(self._settings.decode_workers):
            self._track(self._add_worker())

    async def close(self) -> None:
        """Ends the workers, whatever they do."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._host.close()

    async def decode(
        self, source: ImageSource, spectrum: Spectrum | None, canvas_px: tuple[int, ...]
    ) -> DecodedPhoto:
        """Decodes a photo. Cancelling this kills the worker.

        Raises ImageError (faces.formats), ImageTooCostly among them; Overloaded for no room in time.
        """
        data = source.data if isinstance(source, RawFrame) else source
        layout = source.layout if isinstance(source, RawFrame) else None
        settings, held = self._settings, _Held(self._budget)
        # Taking the pixels of a usual photo before they are known saves asking.
        held.try_take(USUAL_PIXELS)
        give_up = time.monotonic() + settings.decode_wait_s
        with held, await _shared(data) as photo:
            while True:
                job = Job(
                    source_bytes=len(data),
                    layout=layout,
                    spectrum=spectrum,
                    canvas_px=canvas_px,
                    limits=self._limits,
                    granted_pixels=min(held.pixels, USUAL_PIXELS, USUAL_BYTES // 3 - max(canvas_px) ** 2),
                    cpu_s=settings.decode_cpu_s,
                )
                answer = await self._ask(job, photo, held, give_up)
                if isinstance(answer, DecodedPhoto):
                    return answer
                if isinstance(answer, Refused):
                    raise answer.error()
                # There is no room for its pixels: wait without a worker, which others can use.
                await held.take(answer.pixels, wait_s=max(0.0, give_up - time.monotonic()))

    async def _ask(
        self, job: Job, photo: SharedMemory, held: _Held, give_up: float
    ) -> DecodedPhoto | Refused | Asks:
        worker = await self._idle_worker(give_up)
        try:
            async with asyncio.timeout(self._settings.decode_wall_s):
                answer = await self._talk(worker, job, photo, held)
        except (TimeoutError, _WorkerFailed, OSError) as error:
            timed_out = isinstance(error, TimeoutError)
            code = await asyncio.shield(self._track(self._replace(worker)))
            raise self._verdict(code, timed_out=timed_out) from error
        except BaseException:
            self._metrics.decode_kills.labels("caller_gone").inc()
            self._track(self._replace(worker))
            raise
        self._return(worker, large=held.pixels > WORK_PIXELS)
        return answer

    async def _talk(
        self, worker: Worker, job: Job, photo: SharedMemory, held: _Held
    ) -> DecodedPhoto | Refused | Asks:
        """Raises _WorkerFailed, OSError."""
        memory = worker.take_memory()
        worker.send(job.to_wire(), (photo.descriptor, memory.descriptor))
        answer = await _answer_of(worker)
        if isinstance(answer, Asks):
            if not held.try_take(answer.pixels):
                worker.send(STOP)
                worker.keep_memory(memory)
                return answer
            memory = SharedMemory()
            worker.send(GO, (memory.descriptor,))
            answer = await _answer_of(worker)
        if isinstance(answer, Asks):
            raise _WorkerFailed
        if isinstance(answer, Refused):
            return answer
        try:
            shared = await _shown(memory, answer.total_bytes)
        except ValueError as error:
            raise _WorkerFailed from error
        kept = answer.width * answer.height
        held.give_back_all_but(kept)

        def release() -> None:
            # In whichever thread the last array goes that shows the pixels.
            self._budget.give_back(kept)
            worker.keep_memory(memory)

        weakref.finalize(shared, release).atexit = False
        return _photo(answer, shared)

    async def _idle_worker(self, give_up: float) -> Worker:
        try:
            while True:
                worker = await self._workers.get(wait_s=max(0.0, give_up - time.monotonic()))
                if not worker.exit_code.done():
                    return worker
                self._track(self._replace(worker))
        except TimeoutError as error:
            raise Overloaded("other photos are being decoded; try again") from error

    def _return(self, worker: Worker, *, large: bool) -> None:
        worker.photos += 1
        if large or worker.photos >= PHOTOS_A_WORKER:
            self._track(self._replace(worker))
        else:
            self._workers.put(worker)

    async def _replace(self, worker: Worker) -> int | None:
        """Ends a worker and starts another; returns the exit code if it had ended by itself."""
        self._track(self._add_worker())
        return await self._host.end(worker)

    async def _add_worker(self) -> None:
        while not self._closed:
            try:
                self._workers.put(await self._host.fork())
            except (HostGone, OSError) as error:
                log.warning("no decoding worker could be started", kind=type(error).__name__)
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _track(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _verdict(self, code: int | None, *, timed_out: bool) -> Exception:
        """What to tell the sender of a photo whose worker ended with this exit code."""
        reason = "wall_time" if timed_out else REASONS.get(code or 0, "died")
        self._metrics.decode_kills.labels(reason).inc()
        log.warning("a decoding worker was ended", reason=reason, exit_code=code)
        anew = "save it anew as a baseline JPEG, or smaller"
        if reason == "time":
            return ImageTooCostly(
                f"decoding this image takes more than {self._settings.decode_cpu_s:g} s of computing: {anew}"
            )
        if reason == "memory":
            return ImageTooCostly(f"decoding this image takes too much memory: {anew}")
        if timed_out or code is None:
            return Overloaded("the photo could not be decoded in time; try again")
        return UndecodableImage(f"this image cannot be decoded: {anew}")


async def _shared(data: bytes) -> SharedMemory:
    return SharedMemory(data) if len(data) <= SMALL_BYTES else await asyncio.to_thread(SharedMemory, data)


async def _shown(memory: SharedMemory, size: int) -> Pixels:
    return memory.show(size) if size <= USUAL_BYTES else await asyncio.to_thread(memory.show, size)


def _photo(done: Done, shared: Pixels) -> DecodedPhoto:
    pixels = shared[: done.pixel_bytes].reshape(done.height, done.width, 3)
    canvas = shared[done.pixel_bytes :].reshape(done.side, done.side, 3)
    reduced = None if done.given == (done.width, done.height) else done.given
    placement = Placement(scale=done.scale, canvas_px=done.side)
    return DecodedPhoto(Image(pixels, done.spectrum, reduced), DetectorInput(canvas, placement, done.given))


class _Held:
    """The pixels that one photo has taken of the budget; leaving the context gives them back."""

    def __init__(self, budget: PixelBudget) -> None:
        self._budget, self.pixels = budget, 0

    def __enter__(self) -> _Held:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.pixels:
            self._budget.give_back(self.pixels)
        self.pixels = 0

    def try_take(self, pixels: int) -> bool:
        if pixels > self.pixels:
            if not self._budget.try_take(pixels - self.pixels):
                return False
            self.pixels = pixels
        return True

    async def take(self, pixels: int, *, wait_s: float) -> None:
        """Raises Overloaded."""
        self.__exit__()
        await self._budget.take(pixels, wait_s=wait_s)
        self.pixels = pixels

    def give_back_all_but(self, pixels: int) -> None:
        """Leaves `pixels` taken, and to whoever calls this."""
        self._budget.give_back(self.pixels - pixels)
        self.pixels = 0


async def _answer_of(worker: Worker) -> Answer:
    """Raises _WorkerFailed, OSError."""
    message = await worker.receive()
    if not message:
        raise _WorkerFailed
    with suppress(ValueError):
        return parse_answer(message)
    raise _WorkerFailed
