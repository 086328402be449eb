"""Signs the head of the audit log, so that a copy kept elsewhere shows a later rewriting of the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.key_file import parse_key, read_or_create_key
from service.store.audit_chain import Head, canonical
from service.store.records import AuditCheckpoint

KEY_FILE = "audit.key"
WHAT = "an audit key"


class BadSignature(ValueError):
    """A signed head does not verify: it was changed, or another key signed it."""


@dataclass(frozen=True, slots=True)
class SignedHead:
    """The last entry at a moment, with an Ed25519 signature (RFC 8032). Keys and signatures in hex."""

    audit_id: int
    digest: str
    at: datetime
    public_key: str
    signature: str

    def verify(self, trusted_key: str | None = None) -> None:
        """Raises BadSignature if the signature is wrong, or the key is not `trusted_key`."""
        if trusted_key is not None and self.public_key != trusted_key.strip().lower():
            raise BadSignature("another key than the trusted one signed this head")
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key))
            key.verify(bytes.fromhex(self.signature), _message(Head(self.audit_id, self.digest), self.at))
        except (InvalidSignature, ValueError) as error:
            raise BadSignature("the signature of the head is wrong") from error

    def as_json(self) -> dict[str, Any]:
        return {
            "audit_id": self.audit_id,
            "digest": self.digest,
            "at": self.at.isoformat(timespec="microseconds"),
            "public_key": self.public_key,
            "signature": self.signature,
        }

    @classmethod
    def of(cls, content: Any) -> SignedHead:
        """Reads what `as_json` made. Raises BadSignature if it is no head."""
        try:
            return cls(
                int(content["audit_id"]),
                str(content["digest"]),
                datetime.fromisoformat(content["at"]).astimezone(UTC),
                str(content["public_key"]),
                str(content["signature"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadSignature("this is no signed head") from error


class AuditSigner:
    """Signs with one private key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self.public_key = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, head: Head, at: datetime | None = None) -> SignedHead:
        at = at or datetime.now(UTC)
        signature = self._key.sign(_message(head, at)).hex()
        return SignedHead(head.audit_id, head.digest, at, self.public_key, signature)


def open_signer(given: str | None, data_dir: Path) -> AuditSigner:
    """Opens a signer with the given key (64 hexadecimal digits), else with the one in the data directory.

    Creates that key at the first start. Raises KeyFileError.
    """
    key = parse_key(given, WHAT) if given is not None else read_or_create_key(data_dir / KEY_FILE, WHAT)
    return AuditSigner(key)


def signed(checkpoint: AuditCheckpoint) -> SignedHead:
    """The signature of a checkpoint, to be verified."""
    return SignedHead(
        checkpoint.audit_id,
        checkpoint.digest,
        checkpoint.made_at,
        checkpoint.public_key,
        checkpoint.signature,
    )


def _message(head: Head, at: datetime) -> bytes:
    return canonical(
        {
            "what": "halflight audit head 1",
            "audit_id": head.audit_id,
            "digest": head.digest,
            "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        }
    )
