"""Templates of consecutive ids form a segment: in a gallery's snapshot they are sealed under one key.

A small segment costs little when it is sealed again or read from the database instead; a large one needs
fewer keys and files.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.sealing.keys import NONCE_BYTES, SealBroken

SEGMENT_IDS = 8192


def segment_of(template_id: int) -> int:
    """The segment that holds a template."""
    return template_id // SEGMENT_IDS


def seal_part(key: bytes, plain: bytes, *place: str) -> bytes:
    """A part of a snapshot, bound to its place (AES-256-GCM): nonce, ciphertext and tag."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, _associated(place))


def open_part(key: bytes, sealed: bytes, *place: str) -> bytes:
    """What was sealed for this place. Raises SealBroken."""
    try:
        view = memoryview(sealed)
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], view[NONCE_BYTES:], _associated(place))
    except (InvalidTag, ValueError) as error:
        raise SealBroken("a part of a snapshot does not open") from error


def _associated(place: tuple[str, ...]) -> bytes:
    return "\0".join(("halflight snapshot 1", *place)).encode()
