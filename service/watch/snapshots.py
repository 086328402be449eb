"""Reads the snapshots of an ONVIF camera as the frames of a live source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import cv2
import httpx
import numpy as np

from service.watch.config import OnvifSource
from service.watch.frames import Frame, Pixels, SourceError
from service.watch.onvif import Login, OnvifError, limited, snapshot_address

MOST_BYTES = 16 << 20


class SnapshotReader:
    """Asks for a picture as often as the source says, or as fast as the camera answers, if that is slower."""

    def __init__(self, source: OnvifSource) -> None:
        self._source, self.live = source, True

    def frames(self) -> Iterator[Frame]:
        """One frame a snapshot, from one connection. Raises SourceError."""
        source, address = self._source, self._source.address
        login = Login(address.username, address.password) if address.username else None
        service = address.copy_with(username=None, password=None)
        # No proxy and no redirect: what a camera answers shall not send us elsewhere.
        try:
            with httpx.Client(timeout=source.timeout_s, trust_env=False, follow_redirects=False) as http:
                path = snapshot_address(http, service, login, source.profile)
                # A Basic login would hand the password to whoever listens: it is answered by none.
                auth = None if login is None else httpx.DigestAuth(login.user, login.password)
                yield from self._pictures(http, service.copy_with(raw_path=path.encode()), auth)
        except (OnvifError, httpx.HTTPError) as error:
            said = str(error) if isinstance(error, OnvifError) else f"no answer ({type(error).__name__})"
            raise SourceError(f"the onvif source cannot be read: {said}") from None

    def _pictures(
        self, http: httpx.Client, address: httpx.URL, auth: httpx.DigestAuth | None
    ) -> Iterator[Frame]:
        began = time.monotonic()
        while True:
            asked = time.monotonic()
            seen_at = datetime.now(UTC)
            with http.stream("GET", address, auth=auth) as answer:
                if not answer.is_success:
                    raise OnvifError(f"status {answer.status_code} for a snapshot")
                pixels = self._decoded(limited(answer, MOST_BYTES))
            yield Frame(pixels, asked - began, seen_at, None)
            time.sleep(max(0.0, asked + 1.0 / self._source.fps - time.monotonic()))

    def _decoded(self, data: bytes) -> Pixels:
        grey = self._source.spectrum == "nir"
        flag = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
        read = cv2.imdecode(np.frombuffer(data, np.uint8), flag) if data else None
        if read is None:
            raise OnvifError("a snapshot is no picture")
        return np.asarray(read, np.uint8)
