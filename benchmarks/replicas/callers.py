"""Callers of several replicas that go on through every kill, and judge each answer."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import httpx

from benchmarks.kills.ledger import Fate, Known, Ledger
from benchmarks.kills.load import JPEG, LEAST, MOST, PEOPLE, REFUSED, candidates_of, enrol
from benchmarks.kills.replica import ANSWER_S
from benchmarks.threads import AtWork

# What a request that a kill ended has left in PostgreSQL is settled by then.
UNSURE_S = 20.0
# Fewer than an identification asks for, of which each has a quarter of the photos.
AT_MOST = 60
# For embedded galleries, whose replicas follow each other: what is late after this long is lost.
LOST_S = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A write that another replica than the one that took it was asked about, again and again.

    `missed`: answers that did not show it yet. `after_s`: from the acknowledgement to the sending of the
    request whose answer showed it. `answered_s`: to that answer.
    """

    missed: int
    after_s: float
    answered_s: float


class Callers(AtWork):
    """Senders in threads, each to a replica drawn anew for every request.

    `at_once`: replicas show a write with its acknowledgement, so every answer can be judged by that.
    """

    def __init__(
        self, urls: Sequence[str], ledger: Ledger, data: Sequence[bytes], seed: int, *, at_once: bool
    ) -> None:
        self._urls, self._ledger, self._data, self._seed = list(urls), ledger, data, seed
        self._slack_s = 0.0 if at_once else LOST_S
        self.enrolments: list[Seen] = []
        self.erasures: list[Seen] = []
        self.answered: list[float] = []
        self.refused: Counter[str] = Counter()
        self._lock = threading.Lock()
        # Ids of subjects with a request under way, whose end nobody knows yet.
        self._under_way: set[str] = set()
        works = (self._enrol, self._enrol, self._erase, self._identify, self._identify, self._watch)
        super().__init__([partial(self._send, number, work) for number, work in enumerate(works)])

    def _send(self, number: int, work: Callable[[httpx.Client, random.Random], None]) -> None:
        draw = random.Random(self._seed * 100 + number)  # noqa: S311 - a seed makes the draws repeatable
        with httpx.Client(timeout=ANSWER_S) as http:
            while not self.over.is_set():
                self._aim(http, draw)
                try:
                    work(http, draw)
                except httpx.HTTPError as error:
                    # Killed: whatever was sent stays unsure.
                    self._note(f"no answer: {type(error).__name__}")
                    time.sleep(0.02)

    def _aim(self, http: httpx.Client, draw: random.Random, *, but: str | None = None) -> str:
        """Chooses a replica for the next request."""
        url = draw.choice([one for one in self._urls if one != but])
        http.base_url = httpx.URL(url)
        return url

    def _note(self, refusal: str) -> None:
        with self._lock:
            self.refused[refusal] += 1

    def _answered(self, answer: httpx.Response, *right: int) -> bool:
        """Whether the answer is one of these; notes what else it is."""
        if answer.status_code in right:
            with self._lock:
                self.answered.append(time.monotonic())
            return True
        self._note(f"{answer.request.method} {answer.request.url.path.split('/')[1]}: {answer.status_code}")
        return False

    @contextmanager
    def _about(self, known: Known) -> Iterator[None]:
        """While a request about a subject is under way. What it leaves unsure is so from its end on."""
        self._under_way.add(known.subject_id)
        try:
            yield
        finally:
            if known.fate is Fate.UNSURE:
                known.becomes(Fate.UNSURE)
            self._under_way.discard(known.subject_id)

    def _enrol(self, http: httpx.Client, draw: random.Random) -> None:
        enrolled, unsure = (len(self._ledger.with_fate(one)) for one in (Fate.ENROLLED, Fate.UNSURE))
        if enrolled >= MOST or enrolled + unsure >= AT_MOST:
            time.sleep(0.05)
            return
        person = draw.randrange(len(PEOPLE))
        both = draw.random() < 0.3
        self._enrolled(http, (2 * person, 2 * person + 1) if both else (2 * person,))

    def _enrolled(self, http: httpx.Client, numbers: tuple[int, ...]) -> Known | None:
        known = self._ledger.new(numbers)
        with self._about(known):
            answer = enrol(http, known, self._data)
        if self._answered(answer, httpx.codes.CREATED):
            self._ledger.acknowledged(known, Fate.ENROLLED)
            return known
        if answer.status_code in REFUSED:
            self._ledger.refused(known)
            self._ledger.fault(f"refused: an enrolment got {answer.status_code}")
        return None

    def _erase(self, http: httpx.Client, draw: random.Random) -> None:
        time.sleep(draw.uniform(0, 0.2))
        # First whoever a kill left unsure.
        unsure = self._ledger.with_fate(Fate.UNSURE, before=time.monotonic() - UNSURE_S)
        for subject_id in sorted(unsure.keys() - self._under_way):
            self._erased(http, unsure[subject_id], sure=False)
            return
        known = self._ledger.oldest(LEAST)
        if known is not None:
            self._erased(http, known)

    def _erased(self, http: httpx.Client, known: Known, *, sure: bool = True) -> bool:
        """Whether the subject is erased by this request. `sure`: it was enrolled before."""
        with self._about(known):
            answer = http.delete(f"/subjects/{known.subject_id}")
        done = self._answered(answer, httpx.codes.OK)
        if done:
            self._ledger.acknowledged(known, Fate.ERASED)
        elif answer.status_code == httpx.codes.NOT_FOUND and not sure:
            known.becomes(Fate.ERASED)
        elif answer.status_code == httpx.codes.NOT_FOUND and known.fate is Fate.UNSURE:
            self._ledger.fault(f"lost: {known.subject_id} was enrolled, and its erasure found nobody")
        return done

    def _identify(self, http: httpx.Client, draw: random.Random) -> None:
        self._identified(http, draw.randrange(len(PEOPLE)))
        time.sleep(draw.uniform(0, 0.1))

    def _identified(self, http: httpx.Client, person: int) -> set[str] | None:
        """Who is found for a person's photo; None if the replica does not serve just now."""
        began, number = time.monotonic(), 2 * person
        answer = http.post("/identify", params={"top_k": 100}, content=self._data[number], headers=JPEG)
        if not self._answered(answer, httpx.codes.OK):
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                self._ledger.fault(f"refused: an identification got {answer.status_code}")
            return None
        self._ledger.identified += 1
        found = candidates_of(answer)
        self._ledger.compare(found, number, began - self._slack_s, "under load")
        return found

    def _watch(self, http: httpx.Client, draw: random.Random) -> None:
        """Enrols and erases a subject, and asks other replicas until each of it shows there."""
        person = draw.randrange(len(PEOPLE))
        known = self._enrolled(http, (2 * person,))
        if known is None:
            time.sleep(0.1)
            return
        self._seen(http, draw, known, person, shown=True)
        if self.over.is_set() or not self._ledger.take(known):
            return
        self._aim(http, draw)
        if self._erased(http, known):
            self._seen(http, draw, known, person, shown=False)

    def _seen(
        self, http: httpx.Client, draw: random.Random, known: Known, person: int, *, shown: bool
    ) -> None:
        taken_by, fate = str(http.base_url).rstrip("/"), known.fate
        missed, acknowledged = 0, known.since
        while not self.over.is_set():
            self._aim(http, draw, but=taken_by)
            asked = time.monotonic()
            try:
                found = self._identified(http, person)
            except httpx.HTTPError as error:
                self._note(f"no answer: {type(error).__name__}")
                time.sleep(0.02)
                continue
            if known.fate is not fate:
                return  # Somebody else has taken it for an erasure.
            if found is None:
                time.sleep(0.02)
                continue
            if (known.subject_id in found) is shown:
                seen = Seen(missed, asked - acknowledged, time.monotonic() - acknowledged)
                (self.enrolments if shown else self.erasures).append(seen)
                return
            missed += 1
