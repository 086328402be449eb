"""Hands events over to an MQTT broker with QoS 1: confirmed is what the broker has confirmed.

Nothing about a decision is retained, since what a broker retains outlives an erasure.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiomqtt
import structlog

from service.delivery.broker import Broker, BrokerError, Client, Refused
from service.delivery.home_assistant import Discovery
from service.delivery.topics import OFFLINE, ONLINE, Topics
from service.store.outbox import DueEvent

log = structlog.get_logger("halflight.delivery")

# Whoever shares a node with others says again that it is there: one of them may have died.
BEAT_S = 30.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
# Whoever may identify names cameras: Home Assistant gets no entities without end.
MAX_CAMERAS = 100


class MqttChannel:
    """One connection, made again whenever it breaks. `discovery`: None if Home Assistant is told nothing."""

    def __init__(
        self,
        broker: Broker,
        topics: Topics,
        discovery: Discovery | None,
        timeout_s: float,
        show: Callable[[bool], None],
    ) -> None:
        self._broker, self._topics, self._discovery = broker, topics, discovery
        self._timeout_s, self._show = timeout_s, show
        self._client: Client | None = None
        self._up, self._turn = asyncio.Event(), asyncio.Lock()
        self._cameras: dict[str, bool] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._stay_connected(), name="mqtt")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def ready(self) -> None:
        """Returns once the broker has let us in: while it is away, events wait and no attempt is counted."""
        await self._up.wait()

    async def send(self, event: DueEvent) -> str | None:
        async with self._turn:
            client = self._client
            if client is None:
                return "the connection broke"
            camera, messages = self._topics.messages(event.body)
            try:
                if camera is not None:
                    await self._announce(client, camera)
                for message in messages:
                    await client.send(message.topic, message.payload, timeout_s=self._timeout_s)
            except Refused as refused:
                return f"refused: {refused}"
            except (aiomqtt.MqttError, ValueError) as error:
                return type(error).__name__
        return None

    async def _announce(self, client: Client, camera: str) -> None:
        """Tells Home Assistant of a camera, once for each connection. Raises aiomqtt.MqttError."""
        if self._discovery is None or self._cameras.get(camera):
            return
        if camera not in self._cameras and len(self._cameras) >= MAX_CAMERAS:
            log.warning("Home Assistant is told of no more cameras", cameras=MAX_CAMERAS)
            return
        self._cameras[camera] = False
        for message in self._discovery.messages(camera):
            await client.send(message.topic, message.payload, retain=True, timeout_s=self._timeout_s)
        self._cameras[camera] = True

    async def _stay_connected(self) -> None:
        failed = 0
        while True:
            try:
                async with self._connected() as client:
                    if failed:
                        log.info("the MQTT broker is back")
                    failed = 0
                    await self._beat(client)
            except (aiomqtt.MqttError, OSError, BrokerError) as error:
                failed += 1
                if failed == 1:
                    log.warning("the MQTT broker is away", cause=str(error))
            longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failed - 1, 10))
            await asyncio.sleep(longest * (0.5 + random.random() / 2))  # noqa: S311 - spreads load

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        """Raises aiomqtt.MqttError, OSError, BrokerError."""
        will = aiomqtt.Will(self._topics.availability, OFFLINE, qos=1, retain=True)
        name = f"halflight-{self._topics.node}-{secrets.token_hex(4)}"
        async with self._broker.client(name, will=will) as client:
            await client.send(self._topics.availability, ONLINE, retain=True)
            for camera in self._cameras:
                self._cameras[camera] = False
            self._client = client
            self._up.set()
            self._show(True)
            try:
                yield client
            except asyncio.CancelledError:
                # A clean end is no reason for the broker to publish the will.
                with suppress(aiomqtt.MqttError):
                    await client.send(self._topics.availability, OFFLINE, retain=True, timeout_s=2.0)
                raise
            finally:
                self._client = None
                self._up.clear()
                self._show(False)

    async def _beat(self, client: Client) -> None:
        """Says every half minute that we are there, until the connection breaks. Raises aiomqtt.MqttError."""
        for camera in list(self._cameras):
            async with self._turn:
                await self._announce(client, camera)
        messages = aiter(client.messages)
        while True:
            # Nothing is subscribed to: this ends when the connection does.
            with suppress(TimeoutError):
                await asyncio.wait_for(anext(messages), BEAT_S)
            async with self._turn:
                await client.send(self._topics.availability, ONLINE, retain=True)
