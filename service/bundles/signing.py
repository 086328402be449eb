"""Signs a bundle and checks its signature: detached Ed25519 (RFC 8032) over the manifest.

The manifest holds the digest of every file. `manifest.sig` holds the 64 bytes of the signature in base64.
Keys are PEM files, as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from faces.bundle import MANIFEST_NAME, Bundle, BundleError

SIGNATURE_NAME = "manifest.sig"


class SigningKeyError(ValueError):
    """The file holds no Ed25519 key of the required kind. The text holds no path."""


def sign(bundle: Bundle, private_key: Path) -> Path:
    """Writes the signature beside the manifest and returns its path. Raises SigningKeyError, OSError."""
    try:
        key = load_pem_private_key(private_key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningKeyError("the private key cannot be read: an unencrypted PEM is needed") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError("the private key is not an Ed25519 key")
    signature = key.sign((bundle.root / MANIFEST_NAME).read_bytes())
    target = bundle.root / SIGNATURE_NAME
    target.write_text(base64.b64encode(signature).decode() + "\n", encoding="ascii")
    return target


def verify_signature(bundle: Bundle, public_key: Path) -> None:
    """Raises BundleError if this key did not sign the bundle, SigningKeyError if the key is unusable."""
    try:
        key = load_pem_public_key(public_key.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyError("the public key cannot be read: a PEM is needed") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError("the public key is not an Ed25519 key")
    name = bundle.manifest.name
    try:
        text = (bundle.root / SIGNATURE_NAME).read_text(encoding="ascii")
        signature = base64.b64decode(text.strip(), validate=True)
    except FileNotFoundError as error:
        raise BundleError(f"bundle {name} is not signed: it has no {SIGNATURE_NAME}") from error
    except (OSError, ValueError, binascii.Error) as error:
        raise BundleError(f"bundle {name}: {SIGNATURE_NAME} cannot be read") from error
    try:
        key.verify(signature, (bundle.root / MANIFEST_NAME).read_bytes())
    except InvalidSignature as error:
        raise BundleError(f"bundle {name}: the manifest does not match its signature") from error
