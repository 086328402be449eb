"""Starts the workers, starts those anew that end, and carries what they tell each other.

It holds the listener and no model, and answers no request. Events get their order here: each worker sees the
same ones in the same places, and a worker that starts anew gets those that are kept.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, MutableSequence, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from types import FrameType

import structlog

from service.settings import Settings
from service.workers.accepting import ABSENT
from service.workers.buckets import Rates
from service.workers.line import PIECE_BYTES, Line, Message, pair
from service.workers.shares import cores_of_each

log = structlog.get_logger("halflight.workers")

# Waits before a worker starts anew double, from and to these seconds; after long service they begin again.
FIRST_WAIT_S, LONGEST_WAIT_S, LONG_S = 0.5, 30.0, 60.0
# Libraries of other people size their thread pools by these, where nothing else says it.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker gets from its supervisor."""

    listener: socket.socket
    counts: MutableSequence[int]
    rates: Rates
    end: socket.socket
    worker: int
    workers: int
    run: str

    def line(self) -> Line:
        return Line(self.end, worker=self.worker, workers=self.workers, run=self.run)


Target = Callable[[Settings, Place], None]


@dataclass(slots=True, eq=False)
class _Worker:
    index: int
    process: BaseProcess | None = None
    end: socket.socket | None = None
    waiting: deque[bytes] = field(default_factory=deque)
    started_s: float = 0.0
    again_s: float | None = None
    wait_s: float = FIRST_WAIT_S
    ready: bool = False


class Supervisor:
    """`target`: what a worker runs, in a process of its own. `say_ready`: called once, when all serve."""

    def __init__(
        self, settings: Settings, listener: socket.socket, target: Target, say_ready: Callable[[str], None]
    ) -> None:
        self._settings, self._listener = settings, listener
        self._target, self._say_ready = target, say_ready
        self._context = multiprocessing.get_context("spawn")
        self._run = secrets.token_hex(6)
        self._counts: MutableSequence[int] = self._context.RawArray("l", [ABSENT] * settings.workers)
        self._rates = Rates.new()
        self._workers = [_Worker(index) for index in range(settings.workers)]
        self._events: deque[bytes] = deque(maxlen=settings.events_kept)
        self._placed = 0
        self._stopping_s: float | None = None
        self._served = False
        self._code = 0

    def serve(self) -> int:
        """Serves until SIGTERM or SIGINT, or until no worker can start. Returns the exit code."""
        for name in THREADS:
            os.environ.setdefault(name, str(cores_of_each(len(self._workers))))
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        # Until a worker accepts them, connections wait.
        self._listener.listen(2048)
        try:
            for worker in self._workers:
                self._start(worker)
            while any(one.process is not None or one.again_s is not None for one in self._workers):
                self._look(read)
        finally:
            signal.set_wakeup_fd(-1)
            os.close(read)
            os.close(write)
        return self._code

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self._stopping_s is not None and number != signal.SIGINT:
            return
        # Ctrl-C reaches the workers too; asked twice, they stop at once.
        send = signal.SIGINT if self._stopping_s is not None else signal.SIGTERM
        self._stopping_s = time.monotonic()
        for one in self._workers:
            one.again_s = None
            if one.process is not None and one.process.pid is not None and one.process.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(one.process.pid, send)

    def _start(self, worker: _Worker) -> None:
        ours, theirs = pair()
        shared = (self._listener, self._counts, self._rates)
        place = Place(*shared, theirs, worker.index, len(self._workers), self._run)
        process = self._context.Process(
            target=self._target, args=(self._settings, place), name=f"worker {worker.index}"
        )
        process.start()
        theirs.close()
        worker.process, worker.end, worker.again_s, worker.ready = process, ours, None, False
        worker.waiting, worker.started_s = deque(self._events), time.monotonic()
        log.info("worker started", worker=worker.index, pid=process.pid)

    def _look(self, wakeup: int) -> None:
        """Waits for what comes next, half a second at most, and does it."""
        with selectors.DefaultSelector() as selector:
            selector.register(wakeup, selectors.EVENT_READ)
            for one in self._workers:
                if one.process is not None and one.end is not None:
                    selector.register(one.process.sentinel, selectors.EVENT_READ)
                    wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if one.waiting else 0)
                    selector.register(one.end, wanted, one)
            for key, _ in selector.select(0.5):
                if key.fileobj == wakeup:
                    os.read(wakeup, 1024)
                elif isinstance(key.data, _Worker):
                    self._hear(key.data)
                    self._tell(key.data)
        for one in self._workers:
            self._look_after(one)

    def _look_after(self, worker: _Worker) -> None:
        now = time.monotonic()
        if worker.process is not None and not worker.process.is_alive():
            self._ended(worker, now)
        if worker.again_s is not None and now >= worker.again_s:
            try:
                self._start(worker)
            except OSError as error:
                # No memory or no process left: those that run go on.
                worker.again_s = now + LONGEST_WAIT_S
                log.error("worker cannot be started", worker=worker.index, cause=error.strerror)

    def _ended(self, worker: _Worker, now: float) -> None:
        assert worker.process is not None  # noqa: S101 - the caller looked
        code = worker.process.exitcode
        worker.process.join()
        worker.process.close()
        if worker.end is not None:
            worker.end.close()
        worker.process = worker.end = None
        self._counts[worker.index] = ABSENT
        if self._stopping_s is not None:
            # One that was told to stop before it could listen to that has ended as it should.
            clean = code in (0, -signal.SIGTERM, -signal.SIGINT)
            self._code = self._code or (0 if clean or code is None else abs(code))
            return
        if not self._served:
            # It said why. The others could not serve either, or would hide it.
            self._stop(signal.SIGTERM, None)
            self._code = code if code is not None and code > 0 else 1
            return
        worker.wait_s = (
            FIRST_WAIT_S if now - worker.started_s > LONG_S else min(2 * worker.wait_s, LONGEST_WAIT_S)
        )
        worker.again_s = now + worker.wait_s
        log.error("worker ended and is started anew", worker=worker.index, exit_code=code)

    def _hear(self, worker: _Worker) -> None:
        while worker.end is not None:
            try:
                data = worker.end.recv(2 * PIECE_BYTES)
            except OSError:
                return
            if not data:
                return
            self._carry(Message.unpacked(data), data)

    def _carry(self, message: Message, data: bytes) -> None:
        others = [one for one in self._workers if one.index != message.worker and one.process is not None]
        if message.kind == "event":
            self._placed += 1
            placed = Message("event", message.worker, self._placed, message.body).packed()
            self._events.append(placed)
            self._post([one for one in self._workers if one.process is not None], placed)
        elif message.kind in ("ask", "note"):
            self._post(others, data)
        elif message.kind == "answer":
            self._post([one for one in self._workers if one.index == message.worker], data)
        else:
            self._workers[message.worker].ready = True
            log.info("worker ready", worker=message.worker)
            if not self._served and all(one.ready for one in self._workers):
                self._served = True
                self._say_ready(message.body.decode())

    def _post(self, to: Sequence[_Worker], data: bytes) -> None:
        for one in to:
            one.waiting.append(data)
            # One that hears nothing for long gets the newest: readers are told what they missed.
            while len(one.waiting) > 2 * self._settings.events_kept + 64:
                one.waiting.popleft()
            self._tell(one)

    def _tell(self, worker: _Worker) -> None:
        while worker.waiting and worker.end is not None:
            try:
                worker.end.send(worker.waiting[0])
            except OSError:
                return  # It has to read first, or has ended.
            worker.waiting.popleft()
