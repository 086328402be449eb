"""Sends the requests of the commands to a service over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self
from urllib.parse import quote

import httpx

from service.cli.output import Failure
from service.cli.problems import ServiceRefusal, is_problem
from service.cli.stream import Event, read_events

TIMEOUT_S = 60.0
MAX_RETRY_S = 30.0
PAGE = 500
LOOPBACK = ("127.0.0.1", "localhost", "::1")
Answer = dict[str, Any]


class Unanswered(Failure):
    """No answer came: nobody knows what became of the request, or it did not arrive."""


class ServiceClient:
    """A client of one service. Every method raises ServiceRefusal for a problem response, else Failure:
    Unanswered if no answer came."""

    def __init__(self, url: str, key: str | None, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        try:
            parsed = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise Failure(f"{url} is no address", detail=str(error), exit_code=2) from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise Failure(f"{url} is no address of a service", hint="write http://HOST:PORT", exit_code=2)
        headers = {}
        if key is not None and (key := key.strip()):
            if not (key.isascii() and key.isprintable()):
                raise Failure("the key holds characters that no key has", hint="copy it again", exit_code=2)
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=timeout_s,
            # A proxy from the environment cannot reach the loopback of this machine.
            trust_env=parsed.host not in LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._http.close()

    def enroll(
        self,
        subject_id: str,
        images: Sequence[bytes],
        *,
        idempotency_key: str,
        options: Mapping[str, str | None],
    ) -> Answer:
        """Sends POST /enroll, which is safe to repeat with the same `idempotency_key`."""
        fields = {"subject_id": subject_id} | _drop_none(options)
        return self._request(
            "POST",
            "/enroll",
            retry=True,
            data=fields,
            # A file name may reveal whose face it is, and the service does not need it.
            files=[("images", (f"image{i}", data)) for i, data in enumerate(images)],
            headers={"Idempotency-Key": idempotency_key},
        )

    def identify(self, image: bytes, options: Mapping[str, Any]) -> Answer:
        """Sends POST /identify; leaves options that are None to the service."""
        files = [("image", ("image", image))]
        return self._request("POST", "/identify", retry=True, params=_drop_none(options), files=files)

    def verify(
        self,
        image: bytes,
        *,
        subject_id: str | None,
        reference: bytes | None,
        options: Mapping[str, Any],
    ) -> Answer:
        """Sends POST /verify against a subject or a reference image."""
        files = [("image", ("image", image))]
        if reference is not None:
            files.append(("reference", ("reference", reference)))
        data = {} if subject_id is None else {"subject_id": subject_id}
        return self._request(
            "POST", "/verify", retry=True, params=_drop_none(options), data=data, files=files
        )

    def embed(self, image: bytes, options: Mapping[str, Any]) -> Answer:
        """Sends POST /embed; leaves options that are None to the service."""
        files = [("image", ("image", image))]
        return self._request("POST", "/embed", retry=True, params=_drop_none(options), files=files)

    def thresholds(self) -> Answer:
        """The versions of thresholds and those in force."""
        return self._request("GET", "/admin/thresholds")

    def install_thresholds(self, asked: Mapping[str, Any]) -> Answer:
        """Sends POST /admin/thresholds and returns the new version."""
        return self._request("POST", "/admin/thresholds", json=dict(asked))

    def activate_thresholds(self, version: str) -> Answer:
        """Puts a version in force, or with `bundle` the bundle's own thresholds; safe to repeat."""
        return self._request("POST", f"/admin/thresholds/{quote(version, safe='')}/activate", retry=True)

    def subjects(self, wanted: Mapping[str, Any] | None = None) -> Iterator[Answer]:
        """Yields every subject that fits `wanted`, page by page."""
        cursor, limits = None, {"limit": PAGE, **(wanted or {})}
        while True:
            page = self._request("GET", "/subjects", params=_drop_none(limits | {"cursor": cursor}))
            yield from page["subjects"]
            if (cursor := page["next_cursor"]) is None:
                return

    def subject(self, subject_id: str) -> Answer:
        return self._request("GET", _subject_path(subject_id))

    def change(self, subject_id: str, change: Mapping[str, Any]) -> Answer:
        """Changes the id (`subject_id`), the `display_name` or the `metadata` of a subject."""
        return self._request("PATCH", _subject_path(subject_id), json=dict(change))

    def hold(self, subject_id: str, reason: str) -> Answer:
        """Puts a subject on legal hold; safe to repeat."""
        path = f"{_subject_path(subject_id)}/hold"
        return self._request("PUT", path, retry=True, json={"reason": reason})

    def release(self, subject_id: str) -> Answer:
        """Lifts a legal hold."""
        return self._request("DELETE", f"{_subject_path(subject_id)}/hold")

    def export(self, subject_id: str, file: BinaryIO) -> None:
        """Writes everything that is stored about a subject to `file`, a zip archive. Raises OSError."""
        with self._transfer(), self._http.stream("GET", f"{_subject_path(subject_id)}/export") as response:
            if not response.is_success:
                response.read()
                self._read(response)
            for chunk in response.iter_bytes():
                file.write(chunk)

    def merge(self, into: str, source: str) -> Answer:
        """Moves every sample of `source` into `into`; safe to repeat."""
        path = f"{_subject_path(into)}/merge"
        return self._request("POST", path, retry=True, json={"subject_id": source})

    def erase_many(self, subject_ids: Sequence[str]) -> Answer:
        """Erases up to 400 subjects together; safe to repeat."""
        return self._request("POST", "/subjects/delete", retry=True, json={"subject_ids": list(subject_ids)})

    def erase(self, subject_id: str, sample_id: str | None = None) -> Answer:
        """Erases a subject, or one of its samples, and returns the receipt."""
        path = _subject_path(subject_id)
        return self._request(
            "DELETE", path if sample_id is None else f"{path}/samples/{quote(sample_id, '')}"
        )

    def unknowns(self, *, ignored: bool) -> Answer:
        """Unknown faces by person, with the ignored ones if asked for."""
        return self._request("GET", "/unknowns", params={"ignored": str(ignored).lower()})

    def enrol_unknown(self, unknown_id: str, asked: Mapping[str, Any]) -> Answer:
        """Enrols an unknown face; leaves what is None to the service."""
        return self._request("POST", _unknown_path(unknown_id, "/enrol"), json=_drop_none(asked))

    def ignore_unknown(self, unknown_id: str, *, ignored: bool) -> Answer:
        """Hides an unknown face, or shows it again; safe to repeat."""
        path = _unknown_path(unknown_id, "/ignore")
        return self._request("POST", path, retry=True, json={"ignored": ignored})

    def forget_unknown(self, unknown_id: str) -> Answer:
        """Erases what is kept of an unknown face."""
        return self._request("DELETE", _unknown_path(unknown_id))

    def crop(self, event_id: str) -> bytes:
        """The face of a decision, as PNG."""
        response = self._send("GET", f"/events/{quote(event_id, safe='')}/crop", {})
        return response.content if response.is_success else self._refused(response)

    def correct(self, event_id: str, subject_id: str | None) -> Answer:
        """Notes that a decision was wrong; None: who it is, nobody knows."""
        path = f"/events/{quote(event_id, safe='')}/correct"
        return self._request("POST", path, json=_drop_none({"subject_id": subject_id}))

    def decisions(self, last_id: str | None, *, recent: int, follow: bool) -> Iterator[Event]:
        """Yields the events of decisions: after that of `last_id`, or with the last `recent` before."""
        headers = {} if last_id is None else {"Last-Event-ID": last_id}
        params: dict[str, str | int] = {"recent": recent, "follow": str(follow).lower()}
        asked = self._http.stream("GET", "/events", params=params, headers=headers)
        with self._transfer(), asked as response:
            if not response.is_success:
                response.read()
                self._refused(response)
            try:
                yield from read_events(response.iter_lines())
            except ValueError as error:
                raise self._strange(response) from error

    def ready(self) -> Answer:
        return self._request("GET", "/health/ready")

    def _request(self, method: str, path: str, *, retry: bool = False, **request: Any) -> Answer:
        """Sends a request. `retry`: repeat it as `Retry-After` says, for at most `MAX_RETRY_S`."""
        until = time.monotonic() + MAX_RETRY_S
        while True:
            response = self._send(method, path, request)
            wait_s = _retry_after_s(response)
            if not retry or wait_s is None or time.monotonic() + wait_s > until:
                return self._read(response)
            time.sleep(wait_s)

    def _send(self, method: str, path: str, request: dict[str, Any]) -> httpx.Response:
        with self._transfer():
            return self._http.request(method, path, **request)

    @contextmanager
    def _transfer(self) -> Iterator[None]:
        """Turns what can be wrong with a connection into one sentence."""
        try:
            yield
        except httpx.ConnectError as error:
            raise Unanswered(
                f"no service answers at {self.url}",
                hint="start one with `halflight serve`, or name another with --url or HALFLIGHT_URL",
            ) from error
        except httpx.TimeoutException as error:
            raise Unanswered(
                f"the service at {self.url} did not answer in time",
                hint="look at its log and at its load, then try again",
            ) from error
        except httpx.TransportError as error:
            raise Unanswered(
                f"the connection to {self.url} broke ({type(error).__name__})",
                hint="check that the service still runs, then send it again",
            ) from error

    def _read(self, response: httpx.Response) -> Answer:
        try:
            body = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            body = None
        if response.is_success and isinstance(body, dict):
            return body
        if is_problem(body):
            raise ServiceRefusal(body)
        raise self._strange(response)

    def _refused(self, response: httpx.Response) -> NoReturn:
        """Raises what a response says that is no success."""
        self._read(response)
        raise self._strange(response)

    def _strange(self, response: httpx.Response) -> Failure:
        return Failure(
            f"{self.url} answered {response.status_code}, and not as Halflight does",
            hint="check --url: another service, or a proxy, stands at this address",
        )


def read_file(path: Path) -> bytes:
    """Reads a file. Raises Failure, which names the file, if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error


def _subject_path(subject_id: str) -> str:
    return f"/subjects/{quote(subject_id, safe='')}"


def _unknown_path(unknown_id: str, what: str = "") -> str:
    return f"/unknowns/{quote(unknown_id, safe='')}{what}"


def _drop_none(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _retry_after_s(response: httpx.Response) -> float | None:
    """Returns the seconds that a 429 or 503 response asks to wait, None for other responses."""
    if response.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
        return None
    try:
        return max(0.1, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None
