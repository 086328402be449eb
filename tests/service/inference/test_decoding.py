"""Tests the decoding workers: right pixels, limits of time, memory and pixels, and their ends."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from faces.detect import letterbox
from faces.formats import ImageTooCostly, ImageTooLarge, UndecodableImage, UnsupportedMediaType
from faces.frames import FrameFormat, ImageSource, RawFrame
from faces.image import DecodeLimits, decode
from faces.types import Spectrum
from service.errors import Overloaded
from service.inference.decode_host import MEMORIES_KEPT, _environment
from service.inference.decoding import USUAL_PIXELS, WORK_PIXELS, Decoder
from service.settings import SECRETS, Settings
from service.telemetry import Metrics
from tests.conftest import sample_bytes

CANVASES = (320, 640)
LIMITS = DecodeLimits(max_bytes=1 << 26, max_pixels=100_000_000)


def flat_png(width: int, height: int, depth: int = 8) -> bytes:
    """A colour PNG that packs to nearly nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = b"\0" + b"\x40" * (width * 3 * depth // 8)
    packing = zlib.compressobj(1)
    packed = b"".join(packing.compress(row) for _ in range(height)) + packing.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def many_scans(scans: int, side: int = 256) -> bytes:
    """A progressive JPEG whose last scan stands there `scans` times more."""
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    whole = cv2.imencode(".jpg", np.full((side, side, 3), 90, np.uint8), flags)[1].tobytes()
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * scans + whole[-2:]


def settings(**changes: object) -> Settings:
    return Settings(decode_workers=1, decode_wait_s=60, decode_wall_s=120, **changes)  # type: ignore[arg-type]


def kills(decoder: Decoder, reason: str) -> float:
    return float(decoder._metrics.decode_kills.labels(reason)._value.get())


@pytest.fixture
async def running() -> AsyncIterator[list[Decoder]]:
    """Decoders that end with the test."""
    started: list[Decoder] = []
    yield started
    for decoder in started:
        await decoder.close()


def start(running: list[Decoder], given: Settings) -> Decoder:
    decoder = Decoder(given, Metrics())
    decoder.start()
    running.append(decoder)
    return decoder


async def works(decoder: Decoder) -> None:
    photo = await decoder.decode(sample_bytes("s01"), None, CANVASES)
    assert (photo.image.pixels == decode(sample_bytes("s01"), limits=LIMITS).pixels).all()


def frame() -> RawFrame:
    words = np.random.default_rng(3).integers(0, 1 << 12, (120, 160), np.uint16)
    return RawFrame(FrameFormat("Y12", 160, 120, 320), words.astype("<u2").tobytes())


def noise16() -> bytes:
    return cv2.imencode(".png", np.random.default_rng(4).integers(0, 1 << 14, (90, 70), np.uint16))[
        1
    ].tobytes()


def large_jpeg() -> bytes:
    coarse = np.random.default_rng(5).integers(0, 256, (45, 50, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.resize(coarse, (5001, 4503), interpolation=cv2.INTER_CUBIC))[1].tobytes()


@pytest.mark.parametrize("source", [sample_bytes("s01"), frame(), noise16(), flat_png(1700, 1500)])
async def test_a_worker_gives_what_decoding_here_gives(source: ImageSource, running: list[Decoder]) -> None:
    decoder = start(running, settings())
    for spectrum in (None, Spectrum.VIS):
        there = await decoder.decode(source, spectrum, CANVASES)
        here = decode(source, limits=LIMITS, spectrum=spectrum)
        canvas, placement = letterbox(here, canvas_px=CANVASES)
        assert (there.image.pixels == here.pixels).all()
        assert there.image.spectrum is here.spectrum
        assert there.first_look is not None
        assert (there.first_look.pixels == canvas).all()
        assert there.first_look.placement == placement


@pytest.mark.parametrize("largest_px", [1280, 2048])
async def test_a_large_canvas_gets_memory_of_its_own(largest_px: int, running: list[Decoder]) -> None:
    decoder = start(running, settings())
    photo = await decoder.decode(flat_png(1400, 1400), None, (320, largest_px))
    assert photo.image.pixels.shape == (1400, 1400, 3)
    assert photo.first_look is not None
    assert photo.first_look.pixels.shape == (largest_px, largest_px, 3)
    assert kills(decoder, "died") == 0
    await works(decoder)


async def test_pixels_are_in_work_as_long_as_something_shows_them(running: list[Decoder]) -> None:
    decoder = start(running, settings())
    photo = await decoder.decode(sample_bytes("s01"), None, CANVASES)
    part = photo.image.pixels[10:20, 5:]
    size, before = photo.image.width * photo.image.height, part.copy()
    del photo
    assert decoder._budget.in_work == size
    # The memory of a part that is still shown is not used for the next photo.
    await decoder.decode(frame(), None, CANVASES)
    assert (part == before).all()
    del part
    assert decoder._budget.in_work == 0


def shared_files() -> int:
    """Files of shared memory that this process has open; one that is mapped has two descriptors."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            if "halflight-photo" in str(path.readlink()):
                found.add(path.stat().st_ino)
    return len(found)


async def test_a_burst_of_photos_leaves_no_more_memory_than_a_few(running: list[Decoder]) -> None:
    decoder = start(running, settings())
    await works(decoder)
    before, burst = shared_files(), 3 * MEMORIES_KEPT
    photos = [await decoder.decode(sample_bytes("s01"), None, CANVASES) for _ in range(burst)]
    assert shared_files() == before - 1 + burst
    del photos
    assert shared_files() == before - 1 + MEMORIES_KEPT
    await works(decoder)
    assert shared_files() == before - 1 + MEMORIES_KEPT
    assert decoder._budget.in_work == 0


async def test_a_large_photo_is_held_reduced_and_measured_as_given(running: list[Decoder]) -> None:
    decoder = start(running, settings())
    photo = await decoder.decode(large_jpeg(), None, CANVASES)
    assert photo.image.pixels.shape == (2252, 2501, 3)
    assert (photo.image.width, photo.image.height, photo.image.reduction) == (5001, 4503, 2)
    assert WORK_PIXELS < 5001 * 4503
    whole = decode(large_jpeg(), limits=LIMITS)
    canvas, placement = letterbox(whole, canvas_px=CANVASES)
    assert photo.first_look is not None
    assert photo.first_look.placement == placement
    assert np.abs(photo.first_look.pixels.astype(int) - canvas).mean() < 1.0
    assert decoder._budget.in_work == 2252 * 2501


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        (b"", UnsupportedMediaType, "not a"),
        (sample_bytes("s01")[:900], UndecodableImage, "truncated"),
        (flat_png(8000, 7000), ImageTooLarge, "8000 x 7000"),
        (many_scans(100), ImageTooCostly, "64 scans"),
    ],
)
async def test_refusals_keep_their_kind(
    source: bytes, kind: type[Exception], text: str, running: list[Decoder]
) -> None:
    decoder = start(running, settings())
    with pytest.raises(kind, match=text):
        await decoder.decode(source, None, CANVASES)
    assert decoder._budget.in_work == 0
    await works(decoder)


async def test_a_photo_that_computes_too_long_costs_its_worker_only(running: list[Decoder]) -> None:
    decoder = start(running, settings(decode_cpu_s=0.2))
    with pytest.raises(ImageTooCostly, match=r"0\.2 s"):
        await decoder.decode(flat_png(7000, 7000), None, CANVASES)
    assert kills(decoder, "time") == 1
    await works(decoder)
    assert decoder._budget.in_work == 0


async def test_a_photo_that_takes_too_much_memory_is_refused(running: list[Decoder]) -> None:
    decoder = start(running, settings(decode_memory_bytes=64 << 20, decode_cpu_s=60))
    with pytest.raises((ImageTooCostly, UndecodableImage)):
        await decoder.decode(flat_png(7000, 7000, 16), None, CANVASES)
    await works(decoder)
    assert decoder._budget.in_work == 0


async def test_cancelling_ends_the_worker_at_once(running: list[Decoder]) -> None:
    decoder = start(running, settings(decode_cpu_s=60))
    await works(decoder)
    (worker,) = decoder._workers.idle
    task = asyncio.create_task(decoder.decode(flat_png(7000, 7000, 16), None, CANVASES))
    await asyncio.sleep(0.3)
    assert not decoder._workers.idle
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(asyncio.shield(worker.exit_code), 60) == -signal.SIGKILL
    assert kills(decoder, "caller_gone") == 1
    await works(decoder)
    assert decoder._budget.in_work == 0


async def test_the_end_of_a_worker_or_of_their_parent_costs_one_photo_at_most(running: list[Decoder]) -> None:
    decoder = start(running, settings(decode_cpu_s=60))
    await works(decoder)
    for number, refusal in ((signal.SIGSEGV, UndecodableImage), (signal.SIGKILL, ImageTooCostly)):
        (worker,) = decoder._workers.idle
        task = asyncio.create_task(decoder.decode(flat_png(7000, 7000, 16), None, CANVASES))
        await asyncio.sleep(0.3)
        os.kill(worker.pid, number)
        with pytest.raises(refusal):
            await task
        await works(decoder)
    host, (worker,) = decoder._host._process, decoder._workers.idle
    assert host is not None
    host.kill()
    assert await asyncio.wait_for(asyncio.shield(worker.exit_code), 60) is None
    await works(decoder)
    assert decoder._host._process is not host


async def test_the_pixels_of_all_photos_together_are_limited(running: list[Decoder]) -> None:
    size = 1600 * 1500
    assert size > USUAL_PIXELS
    given = Settings(decode_workers=2, decode_wait_s=8.0, max_image_pixels=size, max_work_pixels=size)
    decoder = start(running, given)
    first = await decoder.decode(flat_png(1600, 1500), None, CANVASES)
    assert decoder._budget.in_work == size
    with pytest.raises(Overloaded, match="large photos") as refused:
        await decoder.decode(flat_png(1600, 1500), None, CANVASES)
    assert refused.value.headers()["Retry-After"] == "2"
    waiting = asyncio.create_task(decoder.decode(flat_png(1600, 1500), None, CANVASES))
    await asyncio.sleep(0.2)
    del first
    await waiting
    assert kills(decoder, "caller_gone") == 0


async def test_a_worker_has_no_secret_no_socket_but_its_own_and_ends_with_the_service(
    running: list[Decoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Made first: not every secret may have such a value.
    configured = settings()
    for name in SECRETS:
        monkeypatch.setenv(name, "secret-value")
    assert "secret-value" not in _environment().values()
    decoder = start(running, configured)
    await works(decoder)
    (worker,) = decoder._workers.idle
    place = Path("/proc") / str(worker.pid)
    assert b"secret-value" not in (place / "environ").read_bytes()
    opened = [str(one.readlink()) for one in (place / "fd").iterdir()]
    assert sorted(name.partition(":")[0] for name in opened) == ["/dev/null"] * 3 + ["socket"]
    await decoder.close()
    # The process that forked it has been waited for, and had it killed.
    for _ in range(600):
        if not place.exists():
            break
        await asyncio.sleep(0.1)
    assert not place.exists()


async def test_who_waits_longest_gets_the_next_worker(running: list[Decoder]) -> None:
    decoder = start(running, settings())
    await works(decoder)
    order: list[str] = []
    began: list[int] = []

    async def busy() -> None:
        # Asks again at once, as a caller with many photos does.
        while len(order) < 6:
            await decoder.decode(frame(), None, CANVASES)
            order.append("busy")

    async def patient() -> None:
        began.append(len(order))
        await decoder.decode(frame(), None, CANVASES)
        order.append("patient")

    await asyncio.gather(busy(), patient())
    # One photo was being decoded when the patient caller came, and no other went before theirs.
    assert order.index("patient") <= began[0] + 1
