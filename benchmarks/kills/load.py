"""The mixed load: enrolments, erasures, identifications and backfills, until the service is killed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from benchmarks.kills.ledger import Fate, Known, Ledger
from benchmarks.kills.replica import ANSWER_S
from benchmarks.threads import AtWork

SAMPLES = Path(__file__).resolve().parents[2] / "service" / "samples"
# Each person has two photos: number 2 n and 2 n + 1.
PEOPLE = ("s01", "s03", "s05", "s08")
LEAST, MOST, WAIT_S = 8, 20, 10.0
JPEG = {"content-type": "image/jpeg"}
REFUSED = frozenset({400, 404, 409, 413, 415, 422, 429})


def photos() -> list[bytes]:
    """Rendered photos, two of each person in turn."""
    return [(SAMPLES / who / f"vis_{n}.jpg").read_bytes() for who in PEOPLE for n in (1, 2)]


def enrol(http: httpx.Client, known: Known, data: Sequence[bytes]) -> httpx.Response:
    files = [("images", ("photo.jpg", data[number], "image/jpeg")) for number in known.photos]
    form = {
        "subject_id": known.subject_id,
        "duplicates": "ignore",
        "metadata": f'{{"of": "{known.subject_id}"}}',
    }
    return http.post("/enroll", data=form, files=files)


def candidates_of(answer: httpx.Response) -> set[str]:
    found: list[dict[str, Any]] = answer.json()["results"][0]["candidates"]
    return {candidate["subject_id"] for candidate in found}


class Load(AtWork):
    """Senders in threads. `consistent`: one service has taken it all, so each answer can be judged.

    `space_id`: the space that backfills fill.
    """

    def __init__(
        self, urls: Sequence[str], ledger: Ledger, data: Sequence[bytes], space_id: str, seed: int
    ) -> None:
        self._urls, self._ledger, self._data = urls, ledger, data
        self._space_id, self._seed, self._consistent = space_id, seed, len(urls) == 1
        self.filled, self._answers = 0, threading.Semaphore(0)
        works = (self._enrol, self._enrol, self._erase, self._identify, self._fill)
        super().__init__([partial(self._send, number, work) for number, work in enumerate(works)])

    def wait(self, answers: int) -> None:
        """Waits until the service has answered so often."""
        for _ in range(answers):
            self._answers.acquire(timeout=WAIT_S)

    def _send(self, number: int, work: Callable[[httpx.Client, random.Random], None]) -> None:
        draw = random.Random(self._seed * 100 + number)  # noqa: S311 - a seed makes the round repeatable
        with httpx.Client(timeout=ANSWER_S) as http:
            while not self.over.is_set():
                http.base_url = httpx.URL(draw.choice(self._urls))
                try:
                    work(http, draw)
                except httpx.HTTPError:
                    # Killed: whatever was sent stays unsure.
                    time.sleep(0.02)

    def _enrol(self, http: httpx.Client, draw: random.Random) -> None:
        if len(self._ledger.with_fate(Fate.ENROLLED)) >= MOST:
            time.sleep(0.05)
            return
        person = draw.randrange(len(PEOPLE))
        both = draw.random() < 0.3
        known = self._ledger.new((2 * person, 2 * person + 1) if both else (2 * person,))
        answer = enrol(http, known, self._data)
        self._answers.release()
        if answer.status_code == httpx.codes.CREATED:
            self._ledger.acknowledged(known, Fate.ENROLLED)
        elif answer.status_code in REFUSED:
            self._ledger.refused(known)
            self._ledger.fault(f"refused: an enrolment got {answer.status_code} {answer.text[:200]}")

    def _erase(self, http: httpx.Client, draw: random.Random) -> None:
        time.sleep(draw.uniform(0, 0.2))
        known = self._ledger.oldest(LEAST)
        if known is None:
            return
        answer = http.delete(f"/subjects/{known.subject_id}")
        self._answers.release()
        if answer.status_code == httpx.codes.OK:
            self._ledger.acknowledged(known, Fate.ERASED)
        elif answer.status_code == httpx.codes.NOT_FOUND and self._consistent:
            self._ledger.fault(f"lost: {known.subject_id} was enrolled, and its erasure found nobody")

    def _identify(self, http: httpx.Client, draw: random.Random) -> None:
        number, began = 2 * draw.randrange(len(PEOPLE)), time.monotonic()
        answer = http.post("/identify", params={"top_k": 100}, content=self._data[number], headers=JPEG)
        self._answers.release()
        if answer.status_code == httpx.codes.OK:
            self._ledger.identified += 1
            if self._consistent:
                self._ledger.compare(candidates_of(answer), number, began, "under load")
        elif answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            self._ledger.fault(f"refused: an identification got {answer.status_code} {answer.text[:200]}")
        time.sleep(draw.uniform(0, 0.1))

    def _fill(self, http: httpx.Client, draw: random.Random) -> None:
        """Fills the second space, takes it out of use, and begins again: what came meanwhile is missing."""
        place = f"/admin/spaces/{self._space_id}"
        answer = http.get(place)
        if answer.status_code != httpx.codes.OK:
            return
        match answer.json()["state"]:
            case "backfilling":
                time.sleep(0.1)
            case "ready":
                self.filled += 1
                http.post(f"{place}/retire")
                time.sleep(draw.uniform(0, 0.3))
            case _:
                http.post(f"{place}/backfill")


def wait_filled(url: str, space_id: str, timeout_s: float) -> dict[str, Any]:
    """Asks for a last backfill and waits for it; returns the space as it is then.

    A backfill that died four times in a row is given up, and waits to be asked for again.
    """
    end, space = time.monotonic() + timeout_s, dict[str, Any]()
    with httpx.Client(base_url=url, timeout=ANSWER_S) as http:
        while time.monotonic() < end:
            with suppress(httpx.HTTPError):
                space = http.get(f"/admin/spaces/{space_id}").json()
                if space["state"] == "ready":
                    break
                if space["state"] != "backfilling" or not (space["backfill"] or {}).get("running"):
                    http.post(f"/admin/spaces/{space_id}/backfill")
            time.sleep(0.2)
    return space
