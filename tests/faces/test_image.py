"""Tests decoding: formats, orientation, depths, limits and refusals."""

from __future__ import annotations

import io
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from faces.formats import ImageTooLarge, UndecodableImage, UnsupportedMediaType
from faces.image import DecodeLimits, decode, recognise_spectrum
from faces.types import Pixels, Spectrum
from tests.service.api.photos import ORIENTATION, animated, bomb

LIMITS = DecodeLimits(max_bytes=1 << 22, max_pixels=1 << 20)
RNG = np.random.default_rng(3)
# Smooth, so that lossy formats come close: blue, green and red rise in different directions.
Y, X = np.mgrid[0:60, 0:80]
SMOOTH = np.stack([X * 3, Y * 4, 255 - X * 2], axis=2).astype(np.uint8)


def coded(pixels: Pixels, kind: str, mode: str = "RGB", **options: object) -> bytes:
    """BGR pixels -> a file made by Pillow, which the service's decoder (OpenCV) shares no code with."""
    out = io.BytesIO()
    Pillow.fromarray(pixels[:, :, ::-1]).convert(mode).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_exact_pixels(kind: str) -> None:
    noise = RNG.integers(0, 256, (37, 53, 3), np.uint8)
    assert np.array_equal(decode(coded(noise, kind), limits=LIMITS).pixels, noise)


def test_lossless_webp_gives_the_exact_pixels() -> None:
    noise = RNG.integers(0, 256, (37, 53, 3), np.uint8)
    assert np.array_equal(decode(coded(noise, "WEBP", lossless=True), limits=LIMITS).pixels, noise)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_come_close(kind: str) -> None:
    got = decode(coded(SMOOTH, kind, quality=95), limits=LIMITS).pixels
    assert np.abs(got.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    image = decode(coded(SMOOTH, kind, "L"), limits=LIMITS)
    assert image.pixels.shape == SMOOTH.shape
    assert np.ptp(image.pixels, axis=2).max() == 0
    assert image.spectrum is Spectrum.NIR


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bit_files_are_shifted_from_the_depth_they_use(bits: int) -> None:
    eight = RNG.integers(0, 256, (40, 40), np.uint16)
    eight[0, 0] = 255
    data = cv2.imencode(".png", eight << (bits - 8))[1].tobytes()
    pixels = decode(data, limits=LIMITS).pixels
    assert np.array_equal(pixels[:, :, 0], eight)
    assert np.array_equal(pixels[:, :, 0], pixels[:, :, 2])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation: int) -> None:
    undo = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_90,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_270,
    }
    upright = Pillow.fromarray(SMOOTH[:, :, ::-1])
    stored = upright if orientation == 1 else upright.transpose(undo[orientation])
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    for kind, options in (("JPEG", {"quality": 95}), ("PNG", {}), ("TIFF", {})):
        out = io.BytesIO()
        stored.save(out, kind, exif=exif, **options)
        got = decode(out.getvalue(), limits=LIMITS).pixels
        assert got.shape == SMOOTH.shape, kind
        assert np.abs(got.astype(int) - SMOOTH).mean() < 3, kind


def test_alpha_is_dropped_and_a_palette_is_looked_up() -> None:
    assert np.array_equal(decode(coded(SMOOTH, "PNG", "RGBA"), limits=LIMITS).pixels, SMOOTH)
    few = (SMOOTH // 64 * 64).astype(np.uint8)
    out = io.BytesIO()
    Pillow.fromarray(few[:, :, ::-1]).quantize(256).save(out, "PNG")
    assert np.abs(decode(out.getvalue(), limits=LIMITS).pixels.astype(int) - few).mean() < 4


def test_cmyk_comes_close_to_what_pillow_sees() -> None:
    data = coded(SMOOTH, "JPEG", "CMYK", quality=95)
    seen = np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))[:, :, ::-1]
    got = decode(data, limits=LIMITS).pixels
    assert np.abs(got.astype(int) - seen.astype(int)).mean() < 4


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_animations_and_several_pages_are_refused(kind: str) -> None:
    with pytest.raises(UndecodableImage, match="3 frames"):
        decode(animated(RNG, kind), limits=LIMITS)


@pytest.mark.parametrize("data", [b"", b"hello", b"GIF89a" + bytes(99), b"%PDF-1.7", b"RIFF1234WAVE"])
def test_other_types_are_recognised_by_their_first_bytes(data: bytes) -> None:
    with pytest.raises(UnsupportedMediaType):
        decode(data, limits=LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_files_are_refused(kind: str, share: float) -> None:
    whole = coded(RNG.integers(0, 256, (64, 64, 3), np.uint8), kind)
    with pytest.raises(UndecodableImage):
        decode(whole[: int(len(whole) * share)], limits=LIMITS)


def test_limits_of_bytes_and_pixels_are_exact() -> None:
    data = coded(SMOOTH, "PNG")
    decode(data, limits=DecodeLimits(max_bytes=len(data), max_pixels=60 * 80))
    with pytest.raises(ImageTooLarge, match="bytes"):
        decode(data, limits=DecodeLimits(max_bytes=len(data) - 1, max_pixels=60 * 80))
    with pytest.raises(ImageTooLarge, match="80 x 60"):
        decode(data, limits=DecodeLimits(max_bytes=len(data), max_pixels=60 * 80 - 1))


def test_a_bomb_is_refused_by_its_header_without_memory_for_its_pixels() -> None:
    data = bomb(20_000, 20_000)
    tracemalloc.start()
    with pytest.raises(ImageTooLarge):
        decode(data, limits=LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_the_spectrum_is_recognised_from_the_pixels_unless_it_is_given() -> None:
    grey = np.repeat(SMOOTH[:, :, :1], 3, axis=2)
    tinted = (grey * np.array([1.0, 0.7, 0.8])).astype(np.uint8)
    assert recognise_spectrum(SMOOTH) is Spectrum.VIS
    assert recognise_spectrum(grey) is Spectrum.NIR
    assert recognise_spectrum(tinted) is Spectrum.NIR, "an IR camera without a cut filter tints evenly"
    given = decode(coded(grey, "PNG"), limits=LIMITS, spectrum=Spectrum.VIS)
    assert given.spectrum is Spectrum.VIS
