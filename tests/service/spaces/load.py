"""Clients that identify all the while a model changes, and one that enrols and erases; answers are kept,
and checked against what the spaces must say (`support.Oracle`) when both are known."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from tests.conftest import Service
from tests.service.api.test_errors import enroll, identify
from tests.service.spaces.support import Oracle

WAIT_S = 600.0
LATE = "late-"
# Few enough to be listed together, where they show one face.
LATE_SUBJECTS = 24


class Load:
    """`clients` for each service ask for the `probes` (photos by subject) in turn.

    `pause_s` lies between two requests of one client, and may be changed at any time; so may `phase`, what
    the times of the answers that begin from then on are counted for.
    """

    def __init__(
        self,
        services: Sequence[Service],
        probes: Mapping[str, bytes],
        *,
        clients: int = 2,
        pause_s: float = 0.0,
    ) -> None:
        self._probes, self.pause_s = list(probes.items()), pause_s
        self._stop = threading.Event()
        self.answers: list[tuple[str, str, dict[str, Any]]] = []
        self.phase = ""
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.failed: list[str] = []
        jobs = itertools.product(services, range(clients))
        self._threads = [threading.Thread(target=self._ask, args=(job[0], i)) for i, job in enumerate(jobs)]

    def _ask(self, service: Service, start: int) -> None:
        with service.client() as client:
            for turn in itertools.count(start):
                if self._stop.wait(self.pause_s):
                    return
                subject, photo = self._probes[turn * 7 % len(self._probes)]
                begun, phase = time.monotonic(), self.phase
                try:
                    answer = identify(client, photo)
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                    return
                self.seconds[phase].append(time.monotonic() - begun)
                if answer.status_code != 200:
                    self.failed.append(answer.text)
                    return
                self.answers.append((service.url, subject, answer.json()))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def until(self, service: Service, space_id: str, count: int = 1) -> None:
        """Until this replica has given so many answers in this space since now."""
        seen, end = len(self.answers), time.monotonic() + WAIT_S
        while True:
            assert not self.failed, self.failed
            fresh = self.answers[seen:]
            given = sum(url == service.url and body["space_id"] == space_id for url, _, body in fresh)
            if given >= count:
                return
            assert time.monotonic() < end, f"no answer in {space_id}"
            time.sleep(0.02)

    def check(self, oracles: Sequence[Oracle]) -> Counter[str]:
        """Every answer is one space's, whole, and none was refused; how many each space gave."""
        assert not self.failed, self.failed
        known = {one.space_id: one for one in oracles}
        for _, subject, body in self.answers:
            known[body["space_id"]].check(subject, body)
        return Counter(body["space_id"] for _, _, body in self.answers)


class Writer:
    """Enrols one subject after another, and erases every other one, until it is stopped or has done all."""

    def __init__(self, service: Service, photos: Sequence[bytes], *, pause_s: float = 2.0) -> None:
        self._service, self._photos, self._pause_s = service, photos, pause_s
        self._stop = threading.Event()
        self.there: dict[str, bytes] = {}
        self.gone: set[str] = set()
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        with self._service.client() as client:
            for turn in range(LATE_SUBJECTS):
                if self._stop.wait(self._pause_s):
                    return
                name, photo = f"{LATE}{turn}", self._photos[turn % len(self._photos)]
                try:
                    enroll(client, name, photo).raise_for_status()
                    if turn % 2:
                        client.delete(f"/subjects/{name}").raise_for_status()
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                    return
                if turn % 2:
                    self.gone.add(name)
                else:
                    self.there[name] = photo

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def subjects_of(client: httpx.Client) -> set[str]:
    """Every enrolled subject, page by page."""
    found: set[str] = set()
    cursor: str | None = None
    while True:
        params = {"limit": "100"} | ({"cursor": cursor} if cursor else {})
        page = client.get("/subjects", params=params).json()
        found |= {subject["subject_id"] for subject in page["subjects"]}
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def check_nobody_lost(client: httpx.Client, enrolled: Mapping[str, bytes], gone: set[str]) -> set[str]:
    """Each enrolled photo finds its own subject, and nobody who was erased; the spaces that answered."""
    spaces = set()
    for subject, photo in enrolled.items():
        answer = identify(client, photo, spectrum="vis", top_k="20").json()
        spaces.add(answer["space_id"])
        found = {one["subject_id"]: one["score"] for one in answer["results"][0]["candidates"]}
        assert found.get(subject, -1.0) > 0.999, subject
        assert not found.keys() & gone
    return spaces
