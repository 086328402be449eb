"""HEIC, AVIF and what is refused by name: pixels, orientation, caps, broken files."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pillow_heif
import pytest
from PIL import Image as Pillow

from faces.formats import ImageTooLarge, UndecodableImage, UnsupportedMediaType, read_header, sniff
from faces.image import DecodeLimits, decode
from faces.types import Pixels, Spectrum
from tests.faces.test_image import LIMITS, RNG, SMOOTH
from tests.service.api.photos import ORIENTATION

PHONES = ["HEIF", "AVIF"]


def coded(pixels: Pixels, kind: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    picture = Pillow.fromarray(pixels[:, :, ::-1]).convert(mode)
    if kind == "HEIF":
        pillow_heif.from_pillow(picture).save(out, **options)
    else:
        picture.save(out, kind, **options)
    return out.getvalue()


def declaring(data: bytes, width: int, height: int) -> bytes:
    """The same file whose size boxes (ispe) tell another size."""
    at = data.find(b"ispe")
    while at >= 0:
        data = data[: at + 8] + struct.pack(">II", width, height) + data[at + 16 :]
        at = data.find(b"ispe", at + 4)
    return data


@pytest.mark.parametrize("kind", PHONES)
def test_phone_formats_come_close_in_every_channel(kind: str) -> None:
    image = decode(coded(SMOOTH, kind, quality=95), limits=LIMITS)
    assert image.pixels.shape == SMOOTH.shape
    assert np.abs(image.pixels.astype(int) - SMOOTH).mean(axis=(0, 1)).max() < 4
    assert image.spectrum is Spectrum.VIS


@pytest.mark.parametrize("kind", PHONES)
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_and_alpha(kind: str, mode: str) -> None:
    image = decode(coded(SMOOTH, kind, mode, quality=95), limits=LIMITS)
    assert image.pixels.shape == SMOOTH.shape
    assert image.spectrum is (Spectrum.NIR if mode == "L" else Spectrum.VIS)
    grey = np.asarray(Pillow.fromarray(SMOOTH[:, :, ::-1]).convert("L"), int)[:, :, None]
    wanted = grey if mode == "L" else SMOOTH.astype(int)
    assert np.abs(image.pixels.astype(int) - wanted).mean() < 4


@pytest.mark.parametrize("kind", PHONES)
@pytest.mark.parametrize(
    ("orientation", "undo"),
    [(3, Pillow.Transpose.ROTATE_180), (6, Pillow.Transpose.ROTATE_90), (8, Pillow.Transpose.ROTATE_270)],
)
def test_a_turned_phone_gives_an_upright_picture(kind: str, orientation: int, undo: Pillow.Transpose) -> None:
    stored = np.asarray(Pillow.fromarray(SMOOTH).transpose(undo), np.uint8)
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    data = coded(stored, kind, exif=exif.tobytes(), quality=95)
    got = decode(data, limits=LIMITS).pixels
    assert got.shape == SMOOTH.shape
    assert np.abs(got.astype(int) - SMOOTH).mean() < 4


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_heif_pictures_come_out_in_eight_bits(bits: int) -> None:
    deep = (SMOOTH[:, :, ::-1].astype("<u2") * 257).tobytes()
    picture = pillow_heif.from_bytes("RGB;16", (80, 60), deep)
    out = io.BytesIO()
    before, pillow_heif.options.SAVE_HDR_TO_12_BIT = pillow_heif.options.SAVE_HDR_TO_12_BIT, bits == 12
    try:
        picture.save(out, quality=95)
    finally:
        pillow_heif.options.SAVE_HDR_TO_12_BIT = before
    assert np.abs(decode(out.getvalue(), limits=LIMITS).pixels.astype(int) - SMOOTH).mean() < 4


def test_the_primary_picture_of_several_counts() -> None:
    several = pillow_heif.from_pillow(Pillow.new("RGB", (32, 32), "white"))
    several.add_from_pillow(Pillow.fromarray(SMOOTH[:, :, ::-1]))
    out = io.BytesIO()
    several.save(out, primary_index=1, quality=95)
    got = decode(out.getvalue(), limits=LIMITS).pixels
    assert got.shape == SMOOTH.shape


def test_an_animated_avif_is_refused() -> None:
    out = io.BytesIO()
    frames = [Pillow.fromarray(RNG.integers(0, 256, (48, 48, 3), np.uint8)) for _ in range(3)]
    frames[0].save(out, "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(UndecodableImage, match="3 frames"):
        decode(out.getvalue(), limits=LIMITS)


@pytest.mark.parametrize("kind", PHONES)
def test_caps_are_exact_and_read_from_the_header(kind: str) -> None:
    # Whole blocks: what is decoded, and therefore counted, is a multiple of 64 pixels a side.
    data = coded(np.full((64, 64, 3), 90, np.uint8), kind)
    decode(data, limits=DecodeLimits(max_bytes=len(data), max_pixels=64 * 64))
    with pytest.raises(ImageTooLarge, match="bytes"):
        decode(data, limits=DecodeLimits(max_bytes=len(data) - 1, max_pixels=64 * 64))
    with pytest.raises(ImageTooLarge, match="64 x 64"):
        decode(data, limits=DecodeLimits(max_bytes=len(data), max_pixels=64 * 64 - 1))


@pytest.mark.parametrize("kind", PHONES)
def test_a_header_that_promises_too_much_is_refused_without_memory(kind: str) -> None:
    data = declaring(coded(SMOOTH, kind), 16_000, 16_000)
    tracemalloc.start()
    with pytest.raises(ImageTooLarge, match="16000 x 16000"):
        decode(data, limits=LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("options", [{"speed": 6}, {"speed": 10}, {"subsampling": "4:4:4", "tile_rows": 1}])
def test_an_avif_that_codes_more_than_it_declares_is_refused(options: dict[str, object]) -> None:
    data = declaring(coded(np.full((1200, 1600, 3), 90, np.uint8), "AVIF", "RGB", **options), 64, 64)
    assert (read_header(data).width, read_header(data).height) == (1600, 1200)
    with pytest.raises(ImageTooLarge, match="1600 x 1200"):
        decode(data, limits=LIMITS)


def test_a_heif_larger_than_it_declares_is_refused() -> None:
    large = np.full((1200, 1600, 3), 90, np.uint8)
    with pytest.raises(UndecodableImage):
        decode(declaring(coded(large, "HEIF"), 64, 64), limits=LIMITS)


@pytest.mark.parametrize("kind", PHONES)
@pytest.mark.parametrize("share", [0.02, 0.05, 0.3, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(kind: str, share: float) -> None:
    whole = coded(RNG.integers(0, 256, (64, 64, 3), np.uint8), kind)
    with pytest.raises(UndecodableImage):
        decode(whole[: int(len(whole) * share)], limits=LIMITS)


@pytest.mark.parametrize("kind", PHONES)
def test_damaged_files_are_decoded_or_refused_and_nothing_else(kind: str) -> None:
    whole = np.frombuffer(coded(SMOOTH, kind), np.uint8)
    rng = np.random.default_rng(5)
    for _ in range(60):
        spoilt = whole.copy()
        spoilt[rng.integers(16, len(spoilt), 20)] = rng.integers(0, 256, 20)
        try:
            decode(spoilt.tobytes(), limits=LIMITS)
        except (UndecodableImage, ImageTooLarge):
            continue


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        (b"heic", "HEIF"),
        (b"heix", "HEIF"),
        (b"mif1\x00\x00\x00\x00mif1heic", "HEIF"),
        (b"mif1\x00\x00\x00\x00mif1avifmiaf", "AVIF"),
        (b"avif\x00\x00\x00\x00mif1", "AVIF"),
    ],
)
def test_brands_tell_the_format(brands: bytes, kind: str) -> None:
    assert sniff(struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands) == kind


@pytest.mark.parametrize("brand", [b"mp42", b"qt  ", b"isom", b"crx "])
def test_films_and_raw_photos_are_no_images_here(brand: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="HEIC or AVIF image"):
        sniff(b"\x00\x00\x00\x18ftyp" + brand + bytes(4) + b"isomiso2")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40), "JPEG 2000 is not decoded; send JPEG, PNG"),
        (b"\xff\x4f\xff\x51" + bytes(40), "JPEG 2000 is not decoded; send JPEG, PNG"),
        (b"GIF89a" + bytes(40), "GIF is not decoded: .* send JPEG, PNG"),
    ],
)
def test_refused_formats_are_named_with_what_to_send(data: bytes, told: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=told):
        read_header(data)


def test_a_real_jpeg_2000_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedMediaType, match="JPEG 2000"):
        decode(coded(SMOOTH, "JPEG2000"), limits=LIMITS)


def test_without_its_extra_a_heic_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    data = coded(SMOOTH, "HEIF")
    monkeypatch.setattr("faces.heif.is_available", lambda: False)
    with pytest.raises(UnsupportedMediaType, match=r"halflight\[heic\]"):
        decode(data, limits=LIMITS)
