"""Follows the people whom Frigate tracks, and tells it who they are."""

from __future__ import annotations

import asyncio
import random
import secrets
from dataclasses import dataclass
from typing import Literal

import aiomqtt

from halflight.client import AsyncClient, ClientError, Forbidden, TrackDecision, Unauthorized
from service.cli.frigate_api import FrigateApi, FrigateError
from service.cli.frigate_events import People, Person, change_of
from service.cli.output import GOOD, UNSURE, Failure, print_json, print_line, print_status, strip_control
from service.cli.problems import HINTS
from service.delivery.broker import Broker, BrokerError

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`topic`: Frigate's prefix; `ids`: it is told ids, and no display names."""

    topic: str
    spectrum: Literal["auto", "nir", "vis"]
    ids: bool
    as_json: bool


class FrigateWatch:
    """One listener and one worker: while the worker is busy, what is new of a person waits as one turn."""

    def __init__(
        self, broker: Broker, api: FrigateApi, people: People, asked: Asked, *, url: str, key: str | None
    ) -> None:
        self._broker, self._api, self._people, self._asked = broker, api, people, asked
        try:
            self._client = AsyncClient(url, key=key)
        except ValueError as error:
            raise Failure(f"{url} is no address of a service, or the key is none", exit_code=2) from error
        self._turns: dict[str, Person] = {}
        self._news = asyncio.Event()
        self._troubles: set[str] = set()

    async def run(self) -> None:
        """Goes on until it is cancelled. Raises Failure if the service refuses the key."""
        async with self._api, self._client:
            listening = asyncio.create_task(self._listen())
            working = asyncio.create_task(self._work())
            try:
                done, _ = await asyncio.wait((listening, working), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in (listening, working):
                    task.cancel()
                await asyncio.gather(listening, working, return_exceptions=True)

    async def _listen(self) -> None:
        failed = 0
        while True:
            try:
                async with self._broker.client(f"halflight-frigate-{secrets.token_hex(4)}") as client:
                    await client.subscribe(f"{self._asked.topic}/events", qos=1)
                    print_status(f"watching {self._asked.topic}/events", GOOD)
                    failed = 0
                    async for message in client.messages:
                        if isinstance(message.payload, bytes | bytearray):
                            self._hear(message.payload)
            except (aiomqtt.MqttError, OSError, BrokerError) as error:
                failed += 1
                if failed == 1:
                    print_status(f"the broker is away ({error}); trying again until Ctrl-C", UNSURE)
            longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failed - 1, 10))
            await asyncio.sleep(longest * (0.5 + random.random() / 2))  # noqa: S311 - spreads load

    def _hear(self, payload: bytes | bytearray) -> None:
        try:
            change = change_of(payload)
        except ValueError:
            self._trouble("messages", "a message is none of Frigate's: is the topic right?")
            return
        person = self._people.of(change)
        if person is not None:
            self._turns[person.event_id] = person
            self._news.set()

    async def _work(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._turns:
                person = self._turns.pop(next(iter(self._turns)))
                try:
                    await self._look(person)
                except FrigateError as error:
                    self._trouble("Frigate", f"Frigate did not answer as it should ({error})")
                except (Unauthorized, Forbidden) as error:
                    raise Failure(error.detail, hint=HINTS[error.code]) from error
                except ClientError as error:
                    self._trouble("service", f"the service could not say who it is ({error})")

    async def _look(self, person: Person) -> None:
        """Takes a snapshot, and asks whose it is if that is worth it. Raises FrigateError, ClientError."""
        if person.settled:
            return
        if person.verdict is None:
            await self._ask(person)
        if person.verdict is not None:
            # What Frigate did not take is said again with the next change.
            await self._api.set_sub_label(person.event_id, *person.verdict)
            person.settled = True

    async def _ask(self, person: Person) -> None:
        # Once it has ended, Frigate gives the picture as its own settings have it: perhaps a whole frame,
        # whose largest face is that of somebody else.
        if not person.ended and (frame := await self._api.snapshot(person.event_id)) is not None:
            person.take(frame)
            self._troubles.discard("Frigate")
        if not person.worth_asking():
            return
        final = person.ended
        found = await self._client.track(
            person.event_id,
            person.frames,
            idempotency_key=person.request_key,
            camera=person.camera,
            final=final,
            spectrum=self._asked.spectrum,
        )
        self._troubles.discard("service")
        name = self._name(found)
        if name is not None:
            person.verdict = name, found.votes.agree / found.votes.of
        if name is not None or final:
            self._say(person, found, name)

    def _name(self, found: TrackDecision) -> str | None:
        if found.decision != "match" or found.subject is None:
            return None
        shown = None if self._asked.ids else found.subject.display_name
        return shown or found.subject.subject_id

    def _say(self, person: Person, found: TrackDecision, name: str | None) -> None:
        votes = found.votes
        if self._asked.as_json:
            line = {
                "event": person.event_id,
                "camera": person.camera,
                "decision": found.decision,
                "sub_label": name,
                "agree": votes.agree,
                "of": votes.of,
            }
            print_json(line)
            return
        whom = "-" if name is None else strip_control(name)
        print_line(f"{person.camera:<16}  {found.decision:<10}  {whom:<24}  {votes.agree} of {votes.of}")

    def _trouble(self, kind: str, text: str) -> None:
        """Says something once, until it has gone well again."""
        if kind not in self._troubles:
            self._troubles.add(kind)
            print_status(text, UNSURE)
