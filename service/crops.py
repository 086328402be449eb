"""Keeps the aligned crops of enrolled samples, so that a change of the model can embed them again.

A crop is kept as PNG; the store seals it under the key of its subject. Releases up to 0.5.0 sealed crops
under one key of the data directory (`crop.key`), which this reads for the last time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from faces.align import ALIGNMENTS, align
from faces.types import AlignedCrop, Face, Image
from service.key_file import KeyFileError, parse_key
from service.store.records import EncodedCrop, StoredCrop

NONCE_BYTES = 12
KEY_FILE = "crop.key"
WHAT = "a crop key"
NOT_KEPT = "a model change then means re-enrolment"


class CropKeyError(ValueError):
    """The key of older releases is malformed or cannot be read. The text quotes no part of it."""


class CropUnreadable(ValueError):
    """A crop does not open: another key sealed it, or it was changed."""


def align_all(image: Image, face: Face) -> tuple[AlignedCrop, ...]:
    """Aligns a face to every template of `faces.align`, so that a later bundle finds its alignment.

    Raises AlignError if the face cannot be aligned.
    """
    return tuple(align(image, face, name) for name in sorted(ALIGNMENTS))


def encode_crops(crops: Sequence[AlignedCrop]) -> list[EncodedCrop]:
    """Crops as the store takes them; blocks for about a millisecond each. Raises CropUnreadable."""
    encoded = []
    for crop in crops:
        done, png = cv2.imencode(".png", crop.pixels)
        if not done:
            raise CropUnreadable("the crop cannot be written as PNG")
        encoded.append(EncodedCrop(crop.alignment_id, png.tobytes()))
    return encoded


def decode_crop(crop: StoredCrop) -> AlignedCrop:
    """The pixels of a kept crop; blocks. Raises CropUnreadable if it does not open."""
    if crop.png is None:
        raise CropUnreadable("the crop was changed or moved after it was sealed, or its key is lost")
    pixels = cv2.imdecode(np.frombuffer(crop.png, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise CropUnreadable("the crop is no picture")
    return AlignedCrop(np.asarray(pixels, np.uint8), crop.alignment, crop.inter_eye_px, crop.spectrum)


class OldCropKey:
    """The crop key of releases up to 0.5.0: one for all crops, given or in the data directory."""

    def __init__(self, given: str | None, data_dir: Path) -> None:
        """Raises CropKeyError if there is a key that cannot be read."""
        self._file = data_dir / KEY_FILE
        self._cipher: AESGCM | None = None
        try:
            key = parse_key(given if given is not None else self._file.read_text(encoding="ascii"), WHAT)
        except FileNotFoundError:
            return
        except (OSError, UnicodeError) as error:
            raise CropKeyError("the crop key's file cannot be read") from error
        except KeyFileError as error:
            raise CropKeyError(str(error)) from error
        self._cipher = AESGCM(key)
        self.key_id = hashlib.sha256(b"halflight crop key\0" + key).hexdigest()[:16]

    def open(self, sample_id: str, alignment: str, key_id: str, sealed: bytes) -> bytes | None:
        """The PNG of a crop of an older release, None if this key did not seal it."""
        if self._cipher is None or key_id != self.key_id:
            return None
        associated = f"halflight crop 1|{sample_id}|{alignment}".encode()
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
        except (InvalidTag, ValueError):
            return None

    def discard(self) -> None:
        """Removes the file: nothing that it opens is left. Raises OSError."""
        self._file.unlink(missing_ok=True)
