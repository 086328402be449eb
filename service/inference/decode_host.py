"""The process that forks decoding workers (`faces.decoding`), and the workers it has forked."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import structlog

import faces
from faces.decoding.messages import MAX_MESSAGE_BYTES
from service.inference.shared_memory import SharedMemory

log = structlog.get_logger("halflight.decoding")

# What the process needs of the environment: nothing in it is a key or a password.
KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "LANG", "LC_ALL")
# One thread each: there is a worker for every core to use, and a process that forks has one anyway.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
START_S, FORK_S, STATUS_S = 60.0, 10.0, 2.0
# The pixels of a usual photo and its canvas fit into so many bytes, which are used again; so many lie idle
# for each worker at most.
USUAL_BYTES, MEMORIES_KEPT = 8 << 20, 4


class HostGone(Exception):
    """The process that forks workers has ended, or did not answer."""


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | THREADS | {"PYTHONPATH": str(Path(faces.__file__).parent.parent)}


class Worker:
    """One worker. `exit_code`: set once it has ended, -N for signal N, None if unknown.

    `photos`: how many it has read.
    """

    def __init__(self, jobs: socket.socket, pid: int) -> None:
        self.jobs, self.pid, self.photos = jobs, pid, 0
        self._memory: list[SharedMemory] = []
        self.exit_code: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def take_memory(self) -> SharedMemory:
        """Memory for the pixels of a usual photo, used again where there is some: fresh memory costs more
        than the copy. Raises OSError."""
        try:
            return self._memory.pop()
        except IndexError:
            return SharedMemory(size=USUAL_BYTES)

    def keep_memory(self, memory: SharedMemory) -> None:
        """Keeps it for another photo, or lets it go where enough lies idle: what a burst took must not stay.
        Called in any thread."""
        if memory.size is not None and len(self._memory) < MEMORIES_KEPT:
            self._memory.append(memory)

    def send(self, message: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Raises OSError if the worker is gone."""
        socket.send_fds(self.jobs, [message], descriptors)

    async def receive(self) -> bytes:
        """The next message; nothing if the worker has ended. Raises OSError."""
        return await receive(self.jobs)


async def receive(source: socket.socket) -> bytes:
    """One message of a non-blocking socket; nothing at its end."""
    loop = asyncio.get_running_loop()
    while True:
        with suppress(BlockingIOError):
            return source.recv(MAX_MESSAGE_BYTES)
        ready = asyncio.Event()
        loop.add_reader(source, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(source)


class DecodeHost:
    """Starts the process, and again after its end; forks, kills and reaps workers through it."""

    def __init__(self, allowance_bytes: int) -> None:
        self._allowance = allowance_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._listening: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._workers: dict[int, Worker] = {}
        self._open: set[Worker] = set()
        self._forked: asyncio.Queue[int | None] = asyncio.Queue()

    async def fork(self) -> Worker:
        """A new worker. Raises HostGone, OSError."""
        async with self._starting:
            control = self._control if self._control is not None else await self._start()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            try:
                with theirs:
                    socket.send_fds(control, [b"fork"], [theirs.fileno()])
                async with asyncio.timeout(FORK_S):
                    pid = await self._forked.get()
                if pid is None:
                    raise HostGone
            except BaseException as error:
                ours.close()
                if isinstance(error, OSError):  # TimeoutError is one
                    self._end()
                    raise HostGone from error
                raise
            worker = self._workers[pid] = Worker(ours, pid)
            self._open.add(worker)
            return worker

    async def end(self, worker: Worker) -> int | None:
        """Kills a worker, unless it has ended already; returns its exit code if that is known soon."""
        worker.jobs.close()
        self._open.discard(worker)
        control = self._control
        if control is not None and worker.pid in self._workers:
            with suppress(OSError):
                control.send(b"kill %d" % worker.pid)
        with suppress(TimeoutError):
            async with asyncio.timeout(STATUS_S):
                return await asyncio.shield(worker.exit_code)
        return None

    async def close(self) -> None:
        self._end()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        for worker in self._open:
            worker.jobs.close()
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)
        if self._listening is not None:
            self._listening.cancel()
        command = [sys.executable, "-P", "-m", "faces.decoding", str(theirs.fileno()), str(self._allowance)]
        with theirs:
            # A session of its own: Ctrl-C in a terminal is for the service, which then closes the socket.
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own program; starting does not block
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_environment(),
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._control, self._workers, self._forked = ours, {}, asyncio.Queue()
        try:
            async with asyncio.timeout(START_S):
                ready = await receive(ours)
        except BaseException:
            self._end()
            raise
        if ready != b"ready":
            self._end()
            raise HostGone
        self._listening = asyncio.create_task(self._listen(ours, self._workers, self._forked))
        return ours

    async def _listen(
        self, control: socket.socket, workers: dict[int, Worker], forked: asyncio.Queue[int | None]
    ) -> None:
        """Takes the messages of the process until it ends; its workers end with it."""
        with suppress(OSError):
            while message := await receive(control):
                match message.split():
                    case [b"forked", pid]:
                        forked.put_nowait(int(pid))
                    case [b"ended", pid, code]:
                        ended = workers.pop(int(pid), None)
                        if ended is not None:
                            ended.exit_code.set_result(int(code))
        log.warning("the process that forks decoding workers has ended; the next photo starts it anew")
        for worker in workers.values():
            worker.exit_code.set_result(None)
        workers.clear()
        forked.put_nowait(None)
        if self._control is control:
            self._end()

    def _end(self) -> None:
        """Closes the socket: the process ends itself and its workers."""
        if self._control is not None:
            self._control.close()
            self._control = None
