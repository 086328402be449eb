"""Tests pictures that are held reduced: their faces stand in pixels of the given picture all the same."""

from __future__ import annotations

import io

import cv2
import numpy as np
import PIL.Image
import pytest

from faces.align import align
from faces.detect import letterbox
from faces.image import DecodeLimits, decode
from faces.jpeg import MAX_SCANS, count_scans
from faces.orientation import turned, turned_back
from faces.reduction import factor_for
from faces.types import Box, Face, Image, Pixels
from tests.service.inference.test_decoding import large_jpeg, many_scans

FACE = Face(
    Box(1200, 900, 500, 600),
    ((1330.0, 1150.0), (1560.0, 1145.0), (1440.0, 1270.0), (1350.0, 1390.0), (1540.0, 1385.0)),
    0.9,
)
WHOLE = DecodeLimits(max_bytes=1 << 26, max_pixels=1 << 26)


@pytest.fixture(scope="module")
def pair() -> tuple[Image, Image]:
    """A smooth photo as given, and held at half its size."""
    half = DecodeLimits(max_bytes=1 << 26, max_pixels=1 << 26, work_pixels=16_000_000)
    return decode(large_jpeg(), limits=WHOLE), decode(large_jpeg(), limits=half)


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def test_a_reduced_picture_gives_the_same_crops(pair: tuple[Image, Image]) -> None:
    whole, half = pair
    assert (half.width, half.height, half.reduction) == (whole.width, whole.height, 2)
    assert half.pixels.size * 4 <= whole.pixels.size * 1.01
    assert half.spectrum is whole.spectrum
    crops = [align(image, FACE, "arcface-112") for image in pair]
    assert difference(crops[0].pixels, crops[1].pixels) < 1.0
    assert crops[0].inter_eye_px == crops[1].inter_eye_px
    wrong = align(Image(half.pixels, half.spectrum), FACE, "arcface-112")
    assert difference(crops[0].pixels, wrong.pixels) > 10.0, "the picture is too smooth to tell"


def test_a_reduced_picture_is_letterboxed_and_turned_as_the_given_one(pair: tuple[Image, Image]) -> None:
    for zoom in (1.0, 0.5, 2.0):
        (one, here), (other, there) = (letterbox(image, canvas_px=(320, 640), zoom=zoom) for image in pair)
        assert here == there
        assert difference(one, other) < 1.0
    whole, half = (turned(image, 90) for image in pair)
    assert (half.width, half.height) == (whole.width, whole.height) == (4503, 5001)
    back = turned_back(FACE, 90, width=pair[1].width, height=pair[1].height)
    assert back == turned_back(FACE, 90, width=pair[0].width, height=pair[0].height)


def test_a_long_picture_is_not_reduced_to_nothing() -> None:
    assert factor_for(60_000, 800, 16_000_000) == 2
    assert factor_for(4000, 4000, 16_000_000) == 1
    assert factor_for(4001, 4000, 16_000_000) == 2
    assert factor_for(9000, 9000, None) == 1


def test_an_orientation_tag_turns_the_size_of_a_reduced_photo() -> None:
    with PIL.Image.open(io.BytesIO(large_jpeg())) as picture:
        exif, packed = picture.getexif(), io.BytesIO()
        exif[0x0112] = 6
        picture.save(packed, "JPEG", exif=exif)
    limits = DecodeLimits(max_bytes=1 << 26, max_pixels=1 << 26, work_pixels=6_000_000)
    image = decode(packed.getvalue(), limits=limits)
    assert (image.width, image.height) == (4503, 5001)
    assert image.pixels.shape == (2501, 2252, 3)


@pytest.mark.parametrize(("width", "height"), [(5000, 4500), (5001, 4503)])
def test_other_formats_are_reduced_by_area(width: int, height: int) -> None:
    rows = np.linspace(0, 255, height).astype(np.uint8)
    picture = np.repeat(np.repeat(rows[:, None], width, axis=1)[:, :, None], 3, axis=2)
    packed = cv2.imencode(".bmp", picture)[1].tobytes()
    limits = DecodeLimits(max_bytes=1 << 28, max_pixels=1 << 26, work_pixels=16_000_000)
    image = decode(packed, limits=limits)
    assert image.pixels.shape == (-(-height // 2), -(-width // 2), 3)
    assert (image.width, image.height) == (width, height)
    assert difference(image.pixels[:, 0, 0], picture[::2, 0, 0]) < 1.0


def test_scans_are_counted_whatever_stands_before_and_behind_them() -> None:
    usual = count_scans(many_scans(0))
    assert 1 < usual < 20
    assert count_scans(many_scans(30)) == usual + 30
    assert count_scans(many_scans(5000)) == MAX_SCANS + 1
    plain = cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))[
        1
    ].tobytes()
    assert count_scans(plain) == 1
    comment = b"\xff\xfe\x00\x0a" + b"\xff\xda" * 4
    assert count_scans(plain[:2] + comment + plain[2:]) == 1, "a comment is no scan"
    assert count_scans(plain + plain) == 1, "the second picture of a file is not decoded"
    assert count_scans(b"\xff\xd8\xff") == 0
