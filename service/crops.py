"""Encrypts the aligned crops of enrolled samples, so that a change of the model can embed them again.

A stored crop is a PNG under AES-256-GCM with a random nonce of 96 bits (NIST SP 800-38D, 8.2.2, which
limits one key to 2^32 crops). The sample's id and the alignment are the associated data, so that a crop
decrypts only as a crop of that sample.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from faces.align import ALIGNMENTS, align
from faces.types import AlignedCrop, Face, Image
from service.key_file import KEY_BYTES, KeyFileError, parse_key, read_or_create_key
from service.store.records import SealedCrop, StoredCrop

NONCE_BYTES = 12
KEY_FILE = "crop.key"
WHAT = "a crop key"
NOT_KEPT = "a model change then means re-enrolment"


class CropKeyError(ValueError):
    """The key is malformed, or its file cannot be read or created. The text quotes no part of it."""


class CropUnreadable(ValueError):
    """A crop does not decrypt: another key encrypted it, or it was changed."""


def align_all(image: Image, face: Face) -> tuple[AlignedCrop, ...]:
    """Aligns a face to every template of `faces.align`, so that a later bundle finds its alignment.

    Raises AlignError if the face cannot be aligned.
    """
    return tuple(align(image, face, name) for name in sorted(ALIGNMENTS))


class CropVault:
    """Encrypts and decrypts crops under one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise CropKeyError(f"a crop key has {KEY_BYTES} bytes")
        self._cipher = AESGCM(key)
        # Names the key without revealing it.
        self.key_id = hashlib.sha256(b"halflight crop key\0" + key).hexdigest()[:16]

    def seal(self, sample_id: str, crops: Sequence[AlignedCrop]) -> list[SealedCrop]:
        """Encrypts the crops of a sample; blocks for about a millisecond each."""
        return [SealedCrop(c.alignment_id, self.key_id, self._seal(sample_id, c)) for c in crops]

    def open(self, crop: StoredCrop) -> AlignedCrop:
        """Decrypts a crop; blocks. Raises CropUnreadable if it does not decrypt with this key."""
        if crop.key_id != self.key_id:
            raise CropUnreadable("the crop was sealed under another key")
        nonce, sealed = crop.sealed[:NONCE_BYTES], crop.sealed[NONCE_BYTES:]
        try:
            png = self._cipher.decrypt(nonce, sealed, _associated_data(crop.sample_id, crop.alignment))
        except (InvalidTag, ValueError) as error:
            raise CropUnreadable("the crop was changed after it was sealed") from error
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise CropUnreadable("the crop is no picture")
        return AlignedCrop(np.asarray(pixels, np.uint8), crop.alignment, crop.inter_eye_px, crop.spectrum)

    def _seal(self, sample_id: str, crop: AlignedCrop) -> bytes:
        done, png = cv2.imencode(".png", crop.pixels)
        if not done:
            raise CropUnreadable("the crop cannot be written as PNG")
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(
            nonce, png.tobytes(), _associated_data(sample_id, crop.alignment_id)
        )


def open_vault(given: str | None, data_dir: Path) -> CropVault:
    """Opens a vault with the given key (64 hexadecimal digits), else with the one in the data directory.

    Creates that key at the first start, readable by its owner alone. Raises CropKeyError if the key is
    malformed or its file cannot be read or created.
    """
    try:
        key = parse_key(given, WHAT) if given is not None else read_or_create_key(data_dir / KEY_FILE, WHAT)
    except KeyFileError as error:
        raise CropKeyError(str(error)) from error
    return CropVault(key)


def _associated_data(sample_id: str, alignment: str) -> bytes:
    return f"halflight crop 1|{sample_id}|{alignment}".encode()
