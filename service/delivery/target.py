"""Where events go: a checked address, which is connected to as it was checked.

An address that the operator has not opened explicitly must be https and public, so that a setting that was
slipped in, or a name that resolves to this network, reaches nothing behind the firewall.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx


class Unreachable(Exception):
    """The receiver may not be, or cannot be, connected to; the text says why and quotes no address."""


@dataclass(frozen=True, slots=True)
class Target:
    """`private`: http, and addresses of this machine or its networks, are allowed. Raises ValueError."""

    url: str
    private: bool

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the address of a webhook is https://HOST/PATH")
        if parts.username or parts.password or parts.fragment:
            raise ValueError("the address of a webhook has no user, no password and no fragment")
        if parts.scheme == "http" and not self.private:
            raise ValueError("a webhook goes over https unless webhook_private is set")

    async def request(self) -> tuple[httpx.URL, str]:
        """The address with the host's checked IP in place of its name, and the name.

        Whoever connects to it cannot be led elsewhere by a second look-up. Raises Unreachable.
        """
        url = httpx.URL(self.url)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(url.host, url.port or 443, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable("the name of the receiver does not resolve") from error
        addresses = [ip_address(each[4][0]) for each in found]
        if not self.private and not all(each.is_global and not each.is_multicast for each in addresses):
            raise Unreachable("the receiver is not at a public address, and webhook_private is not set")
        return url.copy_with(host=str(addresses[0])), url.netloc.decode("ascii")
