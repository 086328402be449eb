"""An MQTT broker: its address, who we are there, and a client that notices when the broker refuses."""

from __future__ import annotations

import logging
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt

ADDRESS = re.compile(r"mqtts?://[^/@#?\s]+/?")
PORTS = {"mqtt": 1883, "mqtts": 8883}
KEEPALIVE_S = 30
# What it would say of a broken connection reaches whoever calls as an exception.
QUIET = logging.getLogger("halflight.broker")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


class BrokerError(ValueError):
    """The settings of a broker cannot be used. The text quotes no password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """`url`: mqtt://HOST:PORT, or mqtts:// for TLS. `password_file`: read anew for each connection.

    `ca`: PEM file of the authority that signed the broker's certificate; None: the system's.
    Raises BrokerError.
    """

    url: str
    user: str | None = None
    password: str | None = None
    password_file: Path | None = None
    ca: Path | None = None

    def __post_init__(self) -> None:
        if not ADDRESS.fullmatch(self.url) or not urlsplit(self.url).hostname:
            raise BrokerError(
                "the address of a broker is mqtt://HOST:PORT or mqtts://HOST:PORT, without user"
            )
        try:
            port = urlsplit(self.url).port
        except ValueError as error:
            raise BrokerError("the port of a broker is a number up to 65535") from error
        if port == 0:
            raise BrokerError("the port of a broker is not 0")
        if self.password is not None and self.password_file is not None:
            raise BrokerError("give the broker's password or the file that holds it, not both")
        if self.user is None and (self.password is not None or self.password_file is not None):
            raise BrokerError("a password at the broker needs a user")
        if self.ca is not None and not self.url.startswith("mqtts:"):
            raise BrokerError("an authority makes sense for mqtts:// alone")

    def check_files(self) -> None:
        """Raises OSError if a file cannot be read, BrokerError if it holds what is none."""
        self._password()
        if self.url.startswith("mqtts:"):
            self._tls()

    def client(self, name: str, *, will: aiomqtt.Will | None = None, **options: Any) -> Client:
        """A client that is not connected yet; MQTT 5, which alone says that it refuses a message.

        Raises OSError if a file cannot be read, BrokerError if it holds what is none.
        """
        parts = urlsplit(self.url)
        assert parts.hostname is not None  # noqa: S101 - checked when this was made
        return Client(
            parts.hostname,
            parts.port or PORTS[parts.scheme],
            username=self.user,
            password=self._password(),
            identifier=name,
            protocol=aiomqtt.ProtocolVersion.V5,
            keepalive=KEEPALIVE_S,
            logger=QUIET,
            will=will,
            tls_context=self._tls() if parts.scheme == "mqtts" else None,
            **options,
        )

    def _password(self) -> str | None:
        if self.password_file is None:
            return self.password
        try:
            return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except UnicodeError as error:
            raise BrokerError(f"the file {self.password_file.name} holds no text") from error

    def _tls(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca)
        except ssl.SSLError as error:
            raise BrokerError("the file of the broker's authority holds no certificate") from error


class Refused(aiomqtt.MqttError):
    """The broker has taken the message and refused it, such as for want of a right."""


class Client(aiomqtt.Client):
    """Raises Refused where aiomqtt takes a refusal for a confirmation. One message at a time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._refusal: str | None = None

    def _on_publish(  # type: ignore[no-untyped-def]
        self, client, userdata, mid, reason_code, properties
    ) -> None:
        if reason_code.is_failure:
            self._refusal = str(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    async def send(
        self, topic: str, payload: bytes, *, retain: bool = False, timeout_s: float = 10.0
    ) -> None:
        """Publishes with QoS 1 and waits for the confirmation. Raises aiomqtt.MqttError."""
        self._refusal = None
        await self.publish(topic, payload, qos=1, retain=retain, timeout=timeout_s)
        if self._refusal is not None:
            raise Refused(self._refusal)
