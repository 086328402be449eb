"""Asks an ONVIF camera where its snapshots are, by the three requests that this takes.

After the ONVIF Media Service Specification (ver10/media/wsdl, `GetProfiles`, `GetSnapshotUri`), the Device
Management one (`GetSystemDateAndTime`, `GetCapabilities`), and the UsernameToken profile 1.0 of WS-Security.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import httpx

SOAP = "http://www.w3.org/2003/05/soap-envelope"
DEVICE, MEDIA = "http://www.onvif.org/ver10/device/wsdl", "http://www.onvif.org/ver10/media/wsdl"
SCHEMA = "http://www.onvif.org/ver10/schema"
_OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
SECURITY, UTILITY = f"{_OASIS}-wssecurity-secext-1.0.xsd", f"{_OASIS}-wssecurity-utility-1.0.xsd"
DIGEST = f"{_OASIS}-username-token-profile-1.0#PasswordDigest"
BASE64 = f"{_OASIS}-soap-message-security-1.0#Base64Binary"
MOST_BYTES = 1 << 20


class OnvifError(RuntimeError):
    """The camera did not answer as the standard says. The text holds no address and no password."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks. `ahead`: the clock of the camera less ours: it refuses tokens of another time."""

    user: str
    password: str = field(repr=False)
    ahead: timedelta = timedelta(0)

    def header(self) -> str:
        """The WS-Security header: the password is in it as a digest with a nonce and the time."""
        nonce = secrets.token_bytes(16)
        created = f"{datetime.now(UTC) + self.ahead:%Y-%m-%dT%H:%M:%SZ}"
        # SHA-1 is what the profile prescribes.
        digest = hashlib.sha1(nonce + created.encode() + self.password.encode(), usedforsecurity=False)
        return (
            f'<s:Header><w:Security s:mustUnderstand="1" xmlns:w="{SECURITY}"><w:UsernameToken>'
            f"<w:Username>{escape(self.user)}</w:Username>"
            f'<w:Password Type="{DIGEST}">{base64.b64encode(digest.digest()).decode()}</w:Password>'
            f'<w:Nonce EncodingType="{BASE64}">{base64.b64encode(nonce).decode()}</w:Nonce>'
            f'<u:Created xmlns:u="{UTILITY}">{created}</u:Created>'
            "</w:UsernameToken></w:Security></s:Header>"
        )


def snapshot_address(http: httpx.Client, service: httpx.URL, login: Login | None, profile: str | None) -> str:
    """The path and query of the snapshot of a profile, by default the first. `service`: of the device.

    A camera behind a router names the address that it believes to have: only what follows the host is taken.
    Raises OnvifError, httpx.HTTPError.
    """
    if login is not None:
        login = Login(login.user, login.password, _ahead(http, service))
    asked = f'<GetCapabilities xmlns="{DEVICE}"><Category>Media</Category></GetCapabilities>'
    found = _ask(http, service, asked, login).findtext(f".//{{{SCHEMA}}}Media/{{{SCHEMA}}}XAddr")
    media = service if found is None else _at(service, found)
    if profile is None:
        profiles = _ask(http, media, f'<GetProfiles xmlns="{MEDIA}"/>', login)
        first = profiles.find(f".//{{{MEDIA}}}Profiles")
        if first is None or not (profile := first.get("token")):
            raise OnvifError("the camera has no media profile")
    asked = f'<GetSnapshotUri xmlns="{MEDIA}"><ProfileToken>{escape(profile)}</ProfileToken></GetSnapshotUri>'
    uri = _ask(http, media, asked, login).findtext(f".//{{{MEDIA}}}MediaUri/{{{SCHEMA}}}Uri")
    if not uri:
        raise OnvifError("the camera names no snapshot")
    return _at(service, uri.strip()).raw_path.decode("ascii")


def _at(service: httpx.URL, named: str) -> httpx.URL:
    """What a camera names, at the host where it was asked."""
    try:
        other = httpx.URL(named.strip())
    except httpx.InvalidURL as error:
        raise OnvifError("the camera names no address") from error
    return service.copy_with(raw_path=other.raw_path)


def _ahead(http: httpx.Client, service: httpx.URL) -> timedelta:
    """The difference of the clocks, which may be asked for without a password."""
    said = _ask(http, service, f'<GetSystemDateAndTime xmlns="{DEVICE}"/>', None)
    utc = said.find(f".//{{{SCHEMA}}}UTCDateTime")
    if utc is None:
        return timedelta(0)
    names = (
        "Date/{0}Year",
        "Date/{0}Month",
        "Date/{0}Day",
        "Time/{0}Hour",
        "Time/{0}Minute",
        "Time/{0}Second",
    )
    space = f"{{{SCHEMA}}}"
    try:
        parts = [int(utc.findtext(space + name.format(space)) or "") for name in names]
        return datetime(*parts, tzinfo=UTC) - datetime.now(UTC)  # type: ignore[arg-type,misc]
    except ValueError as error:
        raise OnvifError("the camera's clock cannot be read") from error


def _ask(http: httpx.Client, address: httpx.URL, body: str, login: Login | None) -> ElementTree.Element:
    header = "" if login is None else login.header()
    text = (
        f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{SOAP}">'
        f"{header}<s:Body>{body}</s:Body></s:Envelope>"
    )
    kind = {"content-type": "application/soap+xml; charset=utf-8"}
    with http.stream("POST", address, content=text.encode(), headers=kind) as answer:
        found = limited(answer, MOST_BYTES)
    try:
        read = _parsed(found.decode("utf-8"))
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise OnvifError(f"the camera's answer is no XML (status {answer.status_code})") from error
    if read.find(f".//{{{SOAP}}}Fault") is not None or not answer.is_success:
        refused = answer.status_code in (400, 401, 403) or b"NotAuthorized" in found
        raise OnvifError(
            "the camera refuses user or password" if refused else "the camera knows no snapshots"
        )
    return read


def _parsed(text: str) -> ElementTree.Element:
    """Raises OnvifError for a document with a DTD, which SOAP forbids, and with it every entity."""
    if re.search(r"<!(?!--|\[CDATA\[)", text):
        raise OnvifError("the camera's answer has a DTD")
    return ElementTree.fromstring(text)  # noqa: S314 - no DTD, and not large


def limited(answer: httpx.Response, most: int) -> bytes:
    """The body of an answer. Raises OnvifError if it is longer than `most`."""
    found = bytearray()
    for chunk in answer.iter_bytes():
        found += chunk
        if len(found) > most:
            raise OnvifError("the camera's answer is too large")
    return bytes(found)
