"""Creates images for tests: valid, unusual and broken ones."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from tests.conftest import sample_bytes

TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
ORIENTATION = 0x0112
EXOTIC = ("undecodable_image", "no_face", "image_too_large")


@dataclass(frozen=True, slots=True)
class Broken:
    """One broken file, its name, and the codes that are a clear refusal of it."""

    what: str
    data: bytes
    media_type: str
    codes: tuple[str, ...]


def bomb(width: int, height: int) -> bytes:
    """Returns a PNG whose header declares more pixels than its few bytes hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def noise(rng: np.random.Generator, width: int = 160, height: int = 120) -> Image.Image:
    return Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8))


def face() -> Image.Image:
    """Returns the photo of a rendered subject."""
    return Image.open(io.BytesIO(sample_bytes("s01"))).convert("RGB")


def sixteen_bit(picture: Image.Image) -> bytes:
    """Returns a grey image with 12 significant bits in 16, as IR cameras write them."""
    grey = np.asarray(picture.convert("L"), np.uint16)
    return cv2.imencode(".png", grey << 4 | grey >> 4)[1].tobytes()


def turned(picture: Image.Image, orientation: int) -> bytes:
    """Returns an image stored on its side with the EXIF tag that turns it upright."""
    undo = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(picture.transpose(undo[orientation]), "JPEG", exif=exif, quality=92)


def animated(rng: np.random.Generator, kind: str) -> bytes:
    frames = [noise(rng, 48, 48) for _ in range(3)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


def damaged(rng: np.random.Generator, data: bytes) -> bytes:
    """Overwrites thirty bytes after the signature."""
    spoilt = np.frombuffer(data, np.uint8).copy()
    spoilt[rng.integers(16, len(spoilt), 30)] = rng.integers(0, 256, 30)
    return spoilt.tobytes()


def broken_images(seed: int = 0) -> Iterator[Broken]:
    """Returns 200 files, none of which shows a complete face."""
    rng = np.random.default_rng(seed)
    whole = {kind: saved(face(), kind) for kind in TYPES}
    for kind, data in whole.items():
        for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99):
            yield Broken("truncated", data[: int(len(data) * share)], TYPES[kind], ("undecodable_image",))
        yield Broken("only a signature", data[:12], TYPES[kind], ("undecodable_image",))
        yield Broken("header, then noise", data[:64] + rng.bytes(4000), TYPES[kind], EXOTIC)
    for side in (8_000, 12_000, 20_000, 40_000, 60_000, 65_536, 200_000, 1_000_000):
        yield Broken("bomb", bomb(side, side), TYPES["PNG"], ("image_too_large",))
        yield Broken("wide bomb", bomb(side * 60, 20), TYPES["PNG"], EXOTIC)
    for start in (b"GIF89a", b"%PDF-1.7", b"PK\x03\x04", b"<svg>", b"\x7fELF", b""):
        for length in (1, 300, 5000):
            yield Broken("another type", start + rng.bytes(length), "image/jpeg", ("unsupported_media_type",))
    for length in (1, 300, 5000):
        noisy = b"\x00\x00\x00\x18ftypheic" + rng.bytes(length)
        yield Broken("a brand, then noise", noisy, "image/heic", ("undecodable_image",))
    for kind, media_type in TYPES.items():
        yield Broken("1 x 1", saved(Image.new("RGB", (1, 1)), kind), media_type, ("no_face",))
        yield Broken("1 x 900", saved(Image.new("RGB", (1, 900)), kind), media_type, ("no_face",))
        yield Broken("grey", saved(noise(rng).convert("L"), kind), media_type, ("no_face",))
        yield Broken("named wrong", whole[kind][: len(whole[kind]) // 3], "image/bmp", ("undecodable_image",))
    for i in range(38):
        kind = tuple(TYPES)[i % len(TYPES)]
        yield Broken("damaged", damaged(rng, saved(noise(rng), kind)), TYPES[kind], EXOTIC)
    for i in range(10):
        yield Broken("16-bit noise", sixteen_bit(noise(rng)), TYPES["PNG"], ("no_face",))
        yield Broken("CMYK noise", saved(noise(rng).convert("CMYK"), "JPEG"), TYPES["JPEG"], ("no_face",))
        yield Broken(
            "CMYK cut",
            saved(face().convert("CMYK"), "JPEG")[: 3000 + i],
            TYPES["JPEG"],
            ("undecodable_image",),
        )
    for orientation in (3, 6, 8):
        for _ in range(3):
            yield Broken("EXIF-turned", turned(noise(rng), orientation), TYPES["JPEG"], ("no_face",))
        cut = turned(face(), orientation)[: 2000 + orientation]
        yield Broken("EXIF-turned, cut", cut, TYPES["JPEG"], ("undecodable_image",))
    for kind in ("PNG", "WEBP", "TIFF"):
        for _ in range(4):
            yield Broken("animated", animated(rng, kind), TYPES[kind], ("undecodable_image",))
    yield Broken("animated GIF", animated(rng, "GIF"), "image/gif", ("unsupported_media_type",))
