"""Forks decoding workers for the service: `python -m faces.decoding DESCRIPTOR ALLOWANCE_BYTES`.

This process imports every decoder once, gives up what it does not need, and then only forks, kills
and reaps, so a worker starts within milliseconds and shares its memory with the others. It has one
thread, the environment that the service gave it, and one socket:

    the service sends   fork (with the worker's socket)   kill PID
    it answers          ready   forked PID   ended PID STATUS

It ends with its workers when the service closes the socket or dies.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import resource
import selectors
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import NoReturn

import cv2
import numpy as np
import PIL.Image

from faces import heif
from faces.decoding import confine, worker
from faces.detect import letterbox
from faces.formats import EXIF_ORIENTATION, ImageError
from faces.frames import FORMATS, FrameFormat, ImageSource, RawFrame
from faces.image import DecodeLimits, decode

WARM = DecodeLimits(max_bytes=1 << 20, max_pixels=1 << 20)
WARM_PX = 16
# Text in EXIF and in the chunks of a PNG.
ENCODINGS = ("ascii", "latin_1", "cp1252", "utf_8", "utf_16", "utf_16_le", "utf_16_be", "utf_32")


def _warm_up() -> None:
    """Imports what the first photo of each kind would import: afterwards there are no files."""
    PIL.Image.init()
    for name in ENCODINGS:
        importlib.import_module(f"encodings.{name}")
    sources: list[ImageSource] = [*_files(), *_frames()]
    for source in sources:
        # Broken files too: they take ways of their own.
        halved = source[: len(source) // 2] if isinstance(source, bytes) else source
        for each in (source, halved):
            with suppress(ImageError):
                letterbox(decode(each, limits=WARM), canvas_px=(WARM_PX,))
    if heif.is_available():
        import pillow_heif

        pillow_heif.libheif_info()


def _files() -> Iterator[bytes]:
    grey16 = np.full((WARM_PX, WARM_PX), 4000, np.uint16)
    colours = PIL.Image.fromarray(np.full((WARM_PX, WARM_PX, 3), 127, np.uint8))
    exif = colours.getexif()
    exif[EXIF_ORIENTATION] = 6
    for kind in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "AVIF"):
        packed = io.BytesIO()
        colours.save(packed, kind, exif=exif)
        yield packed.getvalue()
    for suffix in (".png", ".tiff"):
        yield cv2.imencode(suffix, grey16)[1].tobytes()
    packed = io.BytesIO()
    colours.convert("CMYK").save(packed, "JPEG")
    yield packed.getvalue()


def _frames() -> Iterator[RawFrame]:
    for name in FORMATS:
        layout = FrameFormat.parse({"format": name, "width": str(WARM_PX), "height": str(WARM_PX)})
        yield RawFrame(layout, bytes(layout.rows * layout.stride))


class _Parent:
    """The process that forks. `children`: process numbers of workers that are not reaped."""

    def __init__(self, service: socket.socket, allowance_bytes: int) -> None:
        self._service, self._allowance = service, allowance_bytes
        self._base = confine.virtual_bytes()
        self._children: set[int] = set()
        self._null = os.open(os.devnull, os.O_WRONLY)
        self._woken, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._woken.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def run(self) -> None:
        """Serves until the service closes its side, then kills what is left."""
        self._service.send(b"ready")
        with selectors.DefaultSelector() as selector:
            selector.register(self._service, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._woken in ready:
                    self._woken.recv(4096)
                    self._reap()
                if self._service in ready and not self._obey():
                    break
        # Their ends still signal, when the sockets of this process may be closed already.
        signal.set_wakeup_fd(-1)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _obey(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._service, 256, 1)
        match message.split():
            case [b"fork"]:
                self._fork(descriptors[0])
            case [b"kill", number] if (pid := int(number)) in self._children:
                # Not reaped, so the number still means this worker.
                os.kill(pid, signal.SIGKILL)
            case []:
                return False
        return True

    def _fork(self, descriptor: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_worker(descriptor)
        os.close(descriptor)
        self._children.add(pid)
        self._service.send(b"forked %d" % pid)

    def _become_worker(self, descriptor: int) -> NoReturn:
        status = 1
        try:
            confine.end_with_parent()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # Decoders write of broken photos what nobody can act on.
            os.dup2(self._null, sys.stderr.fileno())
            os.closerange(3, descriptor)
            os.closerange(descriptor + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            confine.limit_memory(self._allowance, self._base)
            with socket.socket(fileno=descriptor) as jobs:
                worker.serve(jobs)
            status = 0
        finally:
            os._exit(status)

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._children.discard(pid)
                self._service.send(b"ended %d %d" % (pid, os.waitstatus_to_exitcode(status)))


def main() -> None:
    descriptor, allowance_bytes = int(sys.argv[1]), int(sys.argv[2])
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore")
    _warm_up()
    with socket.socket(fileno=descriptor) as service:
        parent = _Parent(service, allowance_bytes)
        confine.close_to_others()
        confine.forbid_files()
        gc.collect()
        gc.freeze()
        # Where the service is gone, the workers go with this process.
        with suppress(BrokenPipeError, ConnectionResetError):
            parent.run()


if __name__ == "__main__":
    main()
