"""Raw frames: the very pixels of every format, and every wrong size refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faces.formats import ImageTooLarge, UndecodableImage, UnsupportedMediaType
from faces.frames import FrameFormat, InvalidFrame, RawFrame, digest
from faces.image import DecodeLimits, decode
from faces.types import Pixels, Spectrum
from tests.faces.test_image import LIMITS, SMOOTH

WIDTH, HEIGHT = 80, 60
EIGHT = np.random.default_rng(8).integers(0, 256, (HEIGHT, WIDTH), np.uint16)
SIZE = {"width": str(WIDTH), "height": str(HEIGHT)}


def frame(name: str, data: bytes, **declared: str) -> RawFrame:
    return RawFrame(FrameFormat.parse({"format": name} | SIZE | declared), data)


def nv12(pixels: Pixels) -> bytes:
    """BGR -> NV12 by way of OpenCV's planar I420; its decoder reads the interleaved planes."""
    planes = cv2.cvtColor(pixels, cv2.COLOR_BGR2YUV_I420)
    height, width = pixels.shape[:2]
    colours = planes[height:].reshape(2, -1).T.reshape(height // 2, width)
    return np.concatenate([planes[:height], colours]).tobytes()


@pytest.mark.parametrize("name", ["GREY", "Y8", "grey", "Y8  "])
def test_eight_bit_grey_is_passed_through(name: str) -> None:
    image = decode(frame(name, EIGHT.astype(np.uint8).tobytes()), limits=LIMITS)
    assert np.array_equal(image.pixels, np.repeat(EIGHT[:, :, None], 3, axis=2))
    assert image.spectrum is Spectrum.NIR


@pytest.mark.parametrize(("name", "bits"), [("Y10", 10), ("Y12", 12), ("Y16", 16), ("Y16 ", 16)])
def test_deep_grey_is_shifted_from_its_declared_bits(name: str, bits: int) -> None:
    low = np.random.default_rng(9).integers(0, 1 << (bits - 8), EIGHT.shape, np.uint16)
    image = decode(frame(name, (EIGHT << (bits - 8) | low).astype("<u2").tobytes()), limits=LIMITS)
    assert np.array_equal(image.pixels[:, :, 1], EIGHT)
    assert image.spectrum is Spectrum.NIR


def test_a_dark_frame_of_declared_bits_stays_dark() -> None:
    dark = EIGHT // 4
    image = decode(frame("Y10", (dark << 2).astype("<u2").tobytes()), limits=LIMITS)
    assert np.array_equal(image.pixels[:, :, 0], dark)


@pytest.mark.parametrize("filled", [10, 12, 14, 16])
def test_y16_takes_the_depth_that_the_camera_fills(filled: int) -> None:
    image = decode(frame("Y16", (EIGHT << (filled - 8)).astype("<u2").tobytes()), limits=LIMITS)
    assert np.array_equal(image.pixels[:, :, 0], EIGHT)


def test_the_order_of_bytes_is_little_endian() -> None:
    data = bytes([0x34, 0x02]) * (WIDTH * HEIGHT)
    assert decode(frame("Y10", data), limits=LIMITS).pixels[0, 0, 0] == 0x234 >> 2


def test_values_above_the_declared_bits_are_another_format() -> None:
    wide = (EIGHT << 4).astype("<u2").tobytes()
    with pytest.raises(UndecodableImage, match="no Y10"):
        decode(frame("Y10", wide), limits=LIMITS)


def test_nv12_keeps_the_colours_and_a_grey_one_is_near_infrared() -> None:
    colours = decode(frame("NV12", nv12(SMOOTH)), limits=LIMITS)
    assert colours.pixels.shape == SMOOTH.shape
    assert np.abs(colours.pixels.astype(int) - SMOOTH).mean(axis=(0, 1)).max() < 5
    assert colours.spectrum is Spectrum.VIS
    grey = np.repeat(SMOOTH[:, :, 1:2], 3, axis=2)
    night = decode(frame("NV12", nv12(grey)), limits=LIMITS)
    assert np.abs(night.pixels.astype(int) - grey).mean() < 2
    assert night.spectrum is Spectrum.NIR


@pytest.mark.parametrize(("name", "sample", "rows"), [("Y8", 1, 60), ("Y12", 2, 60), ("NV12", 1, 90)])
def test_padding_behind_each_row_is_left_out(name: str, sample: int, rows: int) -> None:
    stride = WIDTH * sample + 16
    packed = np.full((rows, WIDTH * sample), 7, np.uint8)
    padded = np.concatenate([packed, np.full((rows, 16), 255, np.uint8)], axis=1)
    padded_image = decode(frame(name, padded.tobytes(), stride=str(stride)), limits=LIMITS)
    packed_image = decode(frame(name, packed.tobytes()), limits=LIMITS)
    assert np.array_equal(padded_image.pixels, packed_image.pixels)


@pytest.mark.parametrize("name", ["GREY", "Y8", "Y10", "Y12", "Y16", "NV12"])
@pytest.mark.parametrize("change", [-1, 1, -WIDTH, WIDTH])
def test_any_other_number_of_bytes_is_refused_with_both_numbers(name: str, change: int) -> None:
    per_pixel = {"GREY": 1.0, "Y8": 1.0, "NV12": 1.5}.get(name, 2.0)
    wanted = int(WIDTH * HEIGHT * per_pixel)
    with pytest.raises(UndecodableImage, match=f"has {wanted} bytes, got {wanted + change}"):
        decode(frame(name, bytes(wanted + change)), limits=LIMITS)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"width": "80", "height": "60"}, "`format`"),
        ({"format": "Y8", "height": "60"}, "`width`"),
        ({"format": "Y8", "width": "80"}, "`height`"),
        ({"format": "Y8", "width": "0", "height": "60"}, "at least 1"),
        ({"format": "Y8", "width": "-80", "height": "60"}, "whole number"),
        ({"format": "Y8", "width": "8e1", "height": "60"}, "whole number"),
        ({"format": "Y8", "width": "9" * 12, "height": "60"}, "whole number"),
        ({"format": "Y8", "width": "٨٠", "height": "60"}, "whole number"),
        ({"format": "NV12", "width": "81", "height": "60"}, "even"),
        ({"format": "NV12", "width": "80", "height": "61"}, "even"),
        ({"format": "Y8", "width": "80", "height": "60", "stride": "79"}, "at least 80 bytes"),
        ({"format": "Y16", "width": "80", "height": "60", "stride": "161"}, "whole samples"),
        ({"format": "Y8", "width": "80", "height": "60", "pitch": "80"}, "no parameter `pitch`"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_by_name(declared: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidFrame, match=told):
        FrameFormat.parse(declared)


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnsupportedMediaType, match="GREY, Y8, Y10, Y12, Y16, NV12"):
        FrameFormat.parse({"format": "MJPG"} | SIZE)


def test_caps_hold_before_the_bytes_are_looked_at() -> None:
    large = RawFrame(FrameFormat.parse({"format": "Y8", "width": "99999", "height": "9"}), b"")
    with pytest.raises(ImageTooLarge, match="a side"):
        decode(large, limits=LIMITS)
    with pytest.raises(ImageTooLarge, match="80 x 60"):
        decode(frame("Y8", b""), limits=DecodeLimits(max_bytes=9, max_pixels=WIDTH * HEIGHT - 1))
    with pytest.raises(ImageTooLarge, match="bytes"):
        decode(frame("Y8", bytes(4800)), limits=DecodeLimits(max_bytes=4799, max_pixels=WIDTH * HEIGHT))


def test_the_layout_belongs_to_the_digest() -> None:
    data = bytes(range(240)) * 20
    upright = frame("Y8", data)
    assert digest(upright) == digest(frame("y8", data))
    assert digest(upright) != digest(frame("Y8", data, width="60", height="80"))
    assert digest(upright) != digest(data)
