"""One database with its services, killed round after round."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import httpx

from benchmarks.backfill import second_bundle
from benchmarks.kills.checks import look
from benchmarks.kills.ledger import Fate, Ledger
from benchmarks.kills.load import JPEG, Load, candidates_of, photos, wait_filled
from benchmarks.kills.replica import ANSWER_S, Replica, Rotation
from service.settings import CHECKOUT, Settings
from service.store.errors import StoreError

# The smaller one of the two that come with the project: a round is not to be spent on its networks.
BUNDLE = CHECKOUT / "models" / "halflight-1"
FOLLOW_S, ROTATION_S, FILL_S = 300.0, 300.0, 600.0


@dataclass(slots=True)
class Told:
    """What rounds have shown. `starts_s`: seconds until each start was ready. `lag_s`: longest until a
    replica showed all that was acknowledged, 0 if its first answer did. `faults`: in words."""

    rounds: int = 0
    starts_s: list[float] = field(default_factory=list)
    lag_s: float = 0.0
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, other: Told) -> None:
        self.rounds += other.rounds
        self.starts_s += other.starts_s
        self.lag_s = max(self.lag_s, other.lag_s)
        self.faults += other.faults
        self.counts += other.counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How rounds are drawn. A kill comes after up to `answers` and up to `longest_s`, whatever the speed of
    the machine. `amid_start`: share of rounds in which the start after it is killed as well. `by_command`:
    share of starts by the command line. `poll_s`: how often replicas read what others wrote. `milvus`: where
    it is, for the gallery of that name."""

    replicas: int = 1
    gallery: str = "embedded"
    answers: int = 8
    longest_s: float = 0.3
    amid_start: float = 0.1
    by_command: float = 0.05
    poll_s: float = 0.1
    milvus: str | None = None


class Field:
    """A database, its services and its ledger. Use it as a context: the services end with it."""

    def __init__(self, place: Path, plan: Plan, seed: int, database_url: str | None = None) -> None:
        self.place, self._plan, self.told, self.ledger = place, plan, Told(), Ledger()
        self._draw, self._seed, self.data = random.Random(seed), seed, photos()  # noqa: S311
        second_bundle(BUNDLE, place / "data" / "bundles" / "other")
        self.env = {
            "HALFLIGHT_DATA_DIR": str(place / "data"),
            "HALFLIGHT_BUNDLE_DIR": str(BUNDLE),
            "HALFLIGHT_LOG_LEVEL": "warning",
            "HALFLIGHT_RATE_LIMIT_PER_S": "0",
            "HALFLIGHT_JOB_LEASE_S": "1",
            "HALFLIGHT_LOG_POLL_S": str(plan.poll_s),
            "HALFLIGHT_INTRA_OP_THREADS": "1",
            # As long as it takes on a busy machine: what is slow is not lost.
            "HALFLIGHT_DECODE_WAIT_S": "60",
            "HALFLIGHT_GALLERY": plan.gallery,
        }
        if plan.milvus is not None:
            self.env["HALFLIGHT_MILVUS_URI"] = plan.milvus
        if database_url is not None:
            self.env["HALFLIGHT_DATABASE_URL"] = database_url
        with patch.dict(os.environ, self.env):
            self._settings = Settings()
        self.replicas = [Replica(number, self.env, place) for number in range(plan.replicas)]
        self._space_id = ""

    def __enter__(self) -> Field:
        for replica in self.replicas:
            replica.start()
            replica.wait_ready()
        with httpx.Client(base_url=self.replicas[0].url, timeout=ANSWER_S) as http:
            made = http.post("/admin/spaces", json={"bundle": "other"}).raise_for_status()
            self._space_id = made.json()["space_id"]
        return self

    def __exit__(self, *_error: object) -> None:
        for replica in self.replicas:
            replica.kill()

    def play(self) -> None:
        """One round: load, a kill at a drawn moment, a start, and a look. Raises NotReady."""
        draw, plan = self._draw, self._plan
        victims = draw.sample(self.replicas, draw.randint(1, len(self.replicas)))
        kills_rotation, moment = draw.random() < 0.5, draw.uniform(0, plan.longest_s)
        answers = draw.randint(0, plan.answers)
        rotation = Rotation(self.env, self.place / "rotation.log", pause_s=draw.uniform(0, 0.05))
        urls = [replica.url for replica in self.replicas]
        with Load(urls, self.ledger, self.data, self._space_id, self._seed + self.told.rounds) as load:
            load.wait(answers)
            time.sleep(moment)
            for victim in victims:
                victim.kill()
            if kills_rotation:
                time.sleep(draw.uniform(0, 0.3))
                rotation.kill()
        ended = False if kills_rotation else rotation.wait(ROTATION_S)
        self.told.counts += Counter(
            services=len(victims),
            rotations=int(kills_rotation),
            **{"rotations that ended": int(ended), "spaces filled": load.filled},
        )
        self._start(victims)
        self.check()
        self.told.rounds += 1

    def _start(self, victims: Sequence[Replica]) -> None:
        draw, plan = self._draw, self._plan
        if draw.random() < plan.amid_start:
            for victim in victims:
                victim.start()
            time.sleep(draw.uniform(0, 3.0))
            for victim in victims:
                victim.kill()
            self.told.counts += Counter({"starts": len(victims)})
        for victim in victims:
            victim.start(forked=draw.random() >= plan.by_command)
        self.told.starts_s += [victim.wait_ready() for victim in victims]

    def check(self) -> None:
        """Looks at every service and at the database, and writes what is wrong to `told`."""
        known = len(self.ledger.faults)
        there = self._listed(self.replicas[0])
        self.ledger.settle(there)
        for replica in self.replicas:
            self._follows(replica, set(there))
        expected = self.ledger.with_fate(Fate.ENROLLED)
        try:
            stored = asyncio.run(look(self._settings, expected, self.ledger.enrolled, self.ledger.erased))
        except (StoreError, ValueError) as error:
            self.ledger.fault(f"integrity: the database does not open: {error}")
        else:
            for fault in stored.faults:
                self.ledger.fault(fault)
        for fault in self.ledger.faults[known:]:
            self.told.faults.append(f"round {self.told.rounds}: {fault}")

    def _listed(self, replica: Replica) -> Mapping[str, int]:
        with httpx.Client(base_url=replica.url, timeout=ANSWER_S) as http:
            answer = http.get("/subjects", params={"limit": 1000}).raise_for_status().json()
        return {subject["subject_id"]: subject["samples"] for subject in answer["subjects"]}

    def _follows(self, replica: Replica, there: set[str]) -> None:
        """A replica that was not killed may show what the others wrote a moment later."""
        with httpx.Client(base_url=replica.url, timeout=ANSWER_S) as http:
            for number in range(0, len(self.data), 2):
                end, began = time.monotonic() + FOLLOW_S, time.monotonic()
                while True:
                    answer = http.post(
                        "/identify", params={"top_k": 100}, content=self.data[number], headers=JPEG
                    )
                    if answer.status_code == httpx.codes.OK and candidates_of(answer) == there:
                        break
                    if len(self.replicas) == 1 or time.monotonic() > end:
                        break
                    time.sleep(0.1)
                    self.told.lag_s = max(self.told.lag_s, time.monotonic() - began)
                if answer.status_code != httpx.codes.OK:
                    self.ledger.fault(f"refused: after the start an identification got {answer.status_code}")
                    continue
                found = candidates_of(answer)
                self.ledger.compare(found, number, began, f"by replica {replica.number}")
                if found != there:
                    self.ledger.fault(
                        f"gallery: replica {replica.number} shows {len(found)} of {len(there)} subjects"
                    )

    def end(self) -> None:
        """After the last round: a rotation and a backfill come to their end. Adds to `told`."""
        if not Rotation(self.env, self.place / "rotation.log", pause_s=0.0).wait(ROTATION_S):
            self.told.faults.append("the last rotation of the master key did not end")
        elif len(self._settings.key_source.read()) != 1:
            self.told.faults.append("after the last rotation more than one master key is left")
        space = wait_filled(self.replicas[0].url, self._space_id, FILL_S)
        if space.get("state") != "ready":
            self.told.faults.append(f"the last backfill did not end: {space}")
        self.check()
        self.told.counts += Counter(
            {
                "enrolments acknowledged": self.ledger.enrolled,
                "erasures acknowledged": self.ledger.erased,
                "identifications under load": self.ledger.identified,
            }
        )
