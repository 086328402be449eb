"""A camera that speaks as much ONVIF as a snapshot takes, over HTTP, with both of its ways to log in.

It checks the WS-Security token and the HTTP digest (RFC 7616, MD5) itself, and refuses a nonce that comes
twice. Its clock is wrong, and it names addresses that only it knows, as cameras behind a router do.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USER, PASSWORD = "watch", "a&b:c@d/e"
AHEAD = timedelta(hours=3, minutes=7)
REALM, NONCE = "camera", "5f3c"
INSIDE = "http://192.168.1.64"
ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope'
    ' xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope" xmlns:tt="http://www.onvif.org/ver10/schema"'
    ' xmlns:tds="http://www.onvif.org/ver10/device/wsdl" xmlns:trt="http://www.onvif.org/ver10/media/wsdl"'
    ' xmlns:ter="http://www.onvif.org/ver10/error"><SOAP-ENV:Body>{}</SOAP-ENV:Body></SOAP-ENV:Envelope>'
)
REFUSED = (
    "<SOAP-ENV:Fault><SOAP-ENV:Code><SOAP-ENV:Value>SOAP-ENV:Sender</SOAP-ENV:Value><SOAP-ENV:Subcode>"
    "<SOAP-ENV:Value>ter:NotAuthorized</SOAP-ENV:Value></SOAP-ENV:Subcode></SOAP-ENV:Code></SOAP-ENV:Fault>"
)


@dataclass
class Camera:
    """`pictures`: JPEG, one a snapshot, the last one for good. `prologue`: before every answer."""

    pictures: Sequence[bytes]
    prologue: str = ""
    shown: int = 0
    refused: int = 0
    profiles: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{USER}:${{CAMERA_PASSWORD}}@127.0.0.1:{self.port}/onvif/device_service"

    def answer(self, path: str, body: str) -> str:
        """What one of the four requests is answered."""
        if "GetSystemDateAndTime" in body:
            now = datetime.now(UTC) + AHEAD
            return (
                "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:UTCDateTime><tt:Time>"
                f"<tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute><tt:Second>{now.second}"
                f"</tt:Second></tt:Time><tt:Date><tt:Year>{now.year}</tt:Year><tt:Month>{now.month}</tt:Month>"
                f"<tt:Day>{now.day}</tt:Day></tt:Date></tt:UTCDateTime></tds:SystemDateAndTime>"
                "</tds:GetSystemDateAndTimeResponse>"
            )
        if not self.knows(body):
            self.refused += 1
            return REFUSED
        if path == "/onvif/device_service" and "GetCapabilities" in body:
            return (
                "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Media><tt:XAddr>"
                f"{INSIDE}/onvif/media_service</tt:XAddr></tt:Media></tds:Capabilities></tds:GetCapabilitiesResponse>"
            )
        assert path == "/onvif/media_service"
        if "GetProfiles" in body:
            return (
                '<trt:GetProfilesResponse><trt:Profiles token="night"/><trt:Profiles token="day"/>'
                "</trt:GetProfilesResponse>"
            )
        found = re.search("<ProfileToken>(.*)</ProfileToken>", body)
        assert found is not None
        self.profiles.append(found[1])
        return (
            "<trt:GetSnapshotUriResponse><trt:MediaUri>"
            f"<tt:Uri>{INSIDE}:8080/snap?profile={found[1]}&amp;size=full</tt:Uri>"
            "</trt:MediaUri></trt:GetSnapshotUriResponse>"
        )

    def knows(self, body: str) -> bool:
        """Whether the WS-Security token is of the user, new, and of this minute by the camera's clock."""
        names = ("Username", "Password", "Nonce", "Created")
        found = [re.search(rf"<\w:{name}(?: [^>]*)?>([^<]*)<", body) for name in names]
        if not all(found):
            return False
        user, digest, nonce, created = (one[1] for one in found if one is not None)
        taken = base64.b64decode(nonce) + created.encode() + PASSWORD.encode()
        right = base64.b64encode(hashlib.sha1(taken, usedforsecurity=False).digest()).decode()
        late = abs(datetime.fromisoformat(created) - datetime.now(UTC) - AHEAD)
        new = nonce not in self.seen
        self.seen.add(nonce)
        return user == USER and digest == right and new and late < timedelta(minutes=1)

    def logs_in(self, path: str, header: str | None) -> bool:
        """Whether the HTTP digest is of the user, the password and this path."""
        if header is None or not header.startswith("Digest "):
            return False
        said = dict(re.findall(r'(\w+)="?([^",]*)"?', header.removeprefix("Digest ")))
        first, second = _md5(f"{USER}:{REALM}:{PASSWORD}"), _md5(f"GET:{path}")
        right = _md5(f"{first}:{NONCE}:{said.get('nc')}:{said.get('cnonce')}:auth:{second}")
        return said.get("uri") == path and said.get("response") == right and said.get("username") == USER


@contextmanager
def served(camera: Camera) -> Iterator[Camera]:
    """The camera on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            said = camera.answer(self.path, body)
            text = camera.prologue + ENVELOPE.format(said)
            self._send(400 if said == REFUSED else 200, text.encode(), "application/soap+xml")

        def do_GET(self) -> None:
            if not camera.logs_in(self.path, self.headers["authorization"]):
                asks = f'Digest realm="{REALM}", nonce="{NONCE}", qop="auth", algorithm=MD5'
                self._send(401, b"", "text/plain", ("www-authenticate", asks))
                return
            assert self.path.startswith("/snap?profile=")
            picture = camera.pictures[min(camera.shown, len(camera.pictures) - 1)]
            camera.shown += 1
            self._send(200, picture, "image/jpeg")

        def _send(self, status: int, body: bytes, kind: str, *headers: tuple[str, str]) -> None:
            self.send_response(status)
            for name, value in (("content-type", kind), ("content-length", str(len(body))), *headers):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        camera.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield camera
        server.shutdown()


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
