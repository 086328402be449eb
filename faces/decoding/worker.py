"""A decoding worker: takes one photo after another from its socket, until the socket closes."""

from __future__ import annotations

import mmap
import os
import signal
import socket
from contextlib import closing

import cv2
import numpy as np

from faces.decoding.messages import GO, MAX_MESSAGE_BYTES, Asks, Done, Job, Refused, to_wire
from faces.detect import letterbox
from faces.formats import ImageError, ImageTooCostly
from faces.frames import ImageSource, RawFrame
from faces.image import decode


class _NoRoom(Exception):
    """The service has no room for a picture of this size now."""


def serve(jobs: socket.socket) -> None:
    """Decodes until the service closes the socket, or SIGPROF kills a job that takes too long."""
    cv2.setNumThreads(1)
    while True:
        message, descriptors, _, _ = socket.recv_fds(jobs, MAX_MESSAGE_BYTES, 2)
        if not message:
            return
        try:
            answer = _answer(jobs, Job.parse(message), descriptors)
        except _NoRoom:
            continue
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            for descriptor in descriptors:
                os.close(descriptor)
        jobs.send(to_wire(answer))


def _answer(jobs: socket.socket, job: Job, descriptors: list[int]) -> Done | Refused:
    """`descriptors`: of the photo and of the memory for its pixels, if it is small; more may be added."""
    # The timer counts computing, not waiting. No handler: the signal ends even a loop in C.
    signal.setitimer(signal.ITIMER_PROF, job.cpu_s)
    try:
        return _decode(jobs, job, _read(descriptors[0], job), descriptors)
    except ImageError as error:
        kind = type(error).__name__
        return Refused(kind, str(error))
    except MemoryError:
        return Refused(
            ImageTooCostly.__name__, "decoding this image takes too much memory: send a smaller one"
        )


def _read(source: int, job: Job) -> ImageSource:
    if job.source_bytes == 0:
        return b""
    with closing(mmap.mmap(source, job.source_bytes, prot=mmap.PROT_READ)) as memory:
        data = memory[:]
    return data if job.layout is None else RawFrame(job.layout, data)


def _decode(jobs: socket.socket, job: Job, source: ImageSource, descriptors: list[int]) -> Done:
    def ask(pixels: int) -> None:
        if pixels <= job.granted_pixels:
            return
        jobs.send(to_wire(Asks(pixels)))
        go, more, _, _ = socket.recv_fds(jobs, MAX_MESSAGE_BYTES, 1)
        descriptors.extend(more)
        if go != GO:
            raise _NoRoom

    image = decode(source, limits=job.limits, spectrum=job.spectrum, on_size=ask)
    canvas, placement = letterbox(image, canvas_px=job.canvas_px)
    height, width = image.pixels.shape[:2]
    done = Done(width, height, (image.width, image.height), image.spectrum, len(canvas), placement.scale)
    target = descriptors[-1]
    if os.fstat(target).st_size == 0:
        os.ftruncate(target, done.total_bytes)
    with closing(mmap.mmap(target, done.total_bytes, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)) as memory:
        shared = np.frombuffer(memory, np.uint8)
        shared[: done.pixel_bytes] = image.pixels.reshape(-1)
        shared[done.pixel_bytes :] = canvas.reshape(-1)
        # The memory cannot be unmapped while an array shows it.
        del shared
    return done
