"""Encrypts the aligned crops of enrolled samples, so that a change of the model can embed them again.

A stored crop is a PNG under AES-256-GCM with a random nonce of 96 bits (NIST SP 800-38D, 8.2.2, which
limits one key to 2^32 crops). The sample's id and the alignment are the associated data, so that a crop
decrypts only as a crop of that sample.
"""

from __future__ import annotations

import binascii
import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from faces.align import ALIGNMENTS, align
from faces.types import AlignedCrop, Face, Image
from service.store.records import SealedCrop, StoredCrop
from service.store.unit import UnitOfWork

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_FILE = "crop.key"
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
    return CropVault(_parse_key(given) if given is not None else _read_or_create_key(data_dir / KEY_FILE))


async def purge_crops(uow: UnitOfWork, *, keep: bool, days: float) -> int:
    """Deletes crops past their retention and returns their number.

    Deletes every crop without `keep`, else those older than `days`, unless `days` is 0.
    """
    if not keep:
        return await uow.crops.purge(None)
    return await uow.crops.purge(datetime.now(UTC) - timedelta(days=days)) if days else 0


def _associated_data(sample_id: str, alignment: str) -> bytes:
    return f"halflight crop 1|{sample_id}|{alignment}".encode()


def _parse_key(text: str) -> bytes:
    try:
        return bytes.fromhex(text.strip())
    except ValueError as error:
        raise CropKeyError("a crop key is 64 hexadecimal digits") from error


def _read_or_create_key(path: Path) -> bytes:
    try:
        if not path.exists():
            _create_key(path)
        return _parse_key(path.read_text(encoding="ascii"))
    except (OSError, UnicodeError) as error:
        raise CropKeyError("the crop key's file cannot be read or made") from error


def _create_key(path: Path) -> None:
    """Writes the file atomically and once: replicas that start together end up with one key."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{binascii.hexlify(os.urandom(4)).decode()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(os.urandom(KEY_BYTES).hex() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return
    finally:
        partial.unlink()
