"""Signatures of Standard Webhooks 1.0: HMAC-SHA256 over id, time stamp and body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
MIN_BYTES, MAX_BYTES = 24, 64


def secret_bytes(text: str) -> bytes:
    """The key in `whsec_` and base64, of 24 to 64 bytes. Raises ValueError, which quotes nothing."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the secret is whsec_ and base64") from error
    if not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise ValueError(f"the secret has {MIN_BYTES} to {MAX_BYTES} bytes in base64")
    return key


def headers(key: bytes, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` in seconds since 1970, `webhook-signature`."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{digest}",
    }
