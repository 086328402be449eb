"""The transit engine of HashiCorp Vault as the key service that wraps the master key.

Vault's key never leaves it: the file holds `vault:v1:...` lines, which open only for a token that may use
`transit/encrypt/KEY` and `transit/decrypt/KEY`. It is asked at the start and when a key is made or
changed, never for a request. Needs the extra `halflight[vault]` (hvac).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.sealing.keys import KEY_BYTES, MasterKeyError, key_from_hex

TIMEOUT_S = 10.0
SEALED = "vault:"


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAddress:
    """Where Vault answers, and which key of its transit engine is ours.

    `token`: as it is; `token_file`: read anew for each request, as an agent of Vault renews it.
    `namespace`: of Vault Enterprise; `ca`: PEM file of the authority that signed Vault's certificate.
    """

    url: str
    key: str
    mount: str = "transit"
    namespace: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    ca: Path | None = None

    def read_token(self) -> str:
        """Raises MasterKeyError, which quotes no token."""
        if self.token is not None:
            return self.token
        if self.token_file is None:
            raise MasterKeyError(
                "Vault needs a token: set HALFLIGHT_VAULT_TOKEN or HALFLIGHT_VAULT_TOKEN_FILE"
            )
        try:
            token = self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise MasterKeyError(f"the token of Vault in {self.token_file.name} cannot be read") from error
        if not token:
            raise MasterKeyError(f"{self.token_file.name} holds no token of Vault")
        return token


class VaultTransit:
    """A `KeyService`. Every call asks Vault and blocks for up to `TIMEOUT_S`."""

    def __init__(self, address: VaultAddress) -> None:
        self._address = address

    def wrap(self, key: bytes) -> str:
        """A line that Vault opens. Raises MasterKeyError."""
        answer = self._ask("encrypt_data", plaintext=base64.b64encode(key).decode())
        line = answer.get("ciphertext")
        if not isinstance(line, str) or not line.startswith(SEALED) or not line.isascii() or "\n" in line:
            raise MasterKeyError("Vault answered, and not as its transit engine does")
        return line

    def unwrap(self, line: str) -> bytes:
        """The key of a line; one in clear, from before Vault was set, is read as well.

        Raises MasterKeyError.
        """
        if not line.startswith(SEALED):
            try:
                return key_from_hex(line)
            except ValueError as error:
                raise MasterKeyError(
                    "a line of the master key is neither wrapped by Vault nor a key"
                ) from error
        plain = self._ask("decrypt_data", ciphertext=line).get("plaintext")
        try:
            key = base64.b64decode(plain or "", validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise MasterKeyError("Vault answered, and not as its transit engine does") from error
        if len(key) != KEY_BYTES:
            raise MasterKeyError(f"what Vault opened is no master key: that has {KEY_BYTES} bytes")
        return key

    def _ask(self, what: str, **given: str) -> dict[str, Any]:
        """The `data` of an answer. Raises MasterKeyError, which quotes neither key nor token."""
        try:
            import hvac
            import requests
        except ImportError as error:
            raise MasterKeyError("the master key is wrapped by Vault: install `halflight[vault]`") from error
        address = self._address
        client = hvac.Client(
            url=address.url,
            token=address.read_token(),
            namespace=address.namespace,
            verify=True if address.ca is None else str(address.ca),
            timeout=TIMEOUT_S,
            # A redirect would take the token to another address.
            allow_redirects=False,
        )
        try:
            answer = getattr(client.secrets.transit, what)(
                name=address.key, mount_point=address.mount, **given
            )
        except hvac.exceptions.VaultDown as error:
            raise MasterKeyError("Vault is sealed: unseal it, then start again") from error
        except hvac.exceptions.Forbidden as error:
            raise MasterKeyError(
                f"Vault refuses: its policy must let the token use {address.mount}/encrypt/{address.key} and"
                f" {address.mount}/decrypt/{address.key}, and the token may have expired"
            ) from error
        except hvac.exceptions.InvalidPath as error:
            raise MasterKeyError(
                f"Vault has no transit engine at {address.mount}, or no key {address.key}"
            ) from error
        except hvac.exceptions.InvalidRequest as error:
            raise MasterKeyError(
                f"Vault cannot do it with its key {address.key}: another key wrapped the line, or its version"
                " may not be used any more"
            ) from error
        except (hvac.exceptions.VaultError, requests.RequestException, OSError) as error:
            raise MasterKeyError(f"Vault does not answer ({type(error).__name__})") from error
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            raise MasterKeyError("Vault answered, and not as its transit engine does")
        return data
