"""Notes every message of a broker, for ever: python reader.py PORT USER PASSWORD FILE SESSION.

Its session is kept by the broker while it is away, so that it misses nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def note(file: Path, line: str) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(line + "\n")


async def read(port: int, user: str, password: str, file: Path, session: str) -> None:
    kept = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    kept.SessionExpiryInterval = 3600
    while True:
        try:
            async with aiomqtt.Client(
                "127.0.0.1",
                port,
                username=user,
                password=password,
                identifier=session,
                protocol=aiomqtt.ProtocolVersion.V5,
                clean_start=False,
                properties=kept,
            ) as client:
                await client.subscribe("#", qos=1)
                # Its session is on the broker's disk by then.
                await asyncio.sleep(2)
                await asyncio.to_thread(file.touch)
                async for message in client.messages:
                    payload = message.payload
                    assert isinstance(payload, bytes)
                    line = {"topic": str(message.topic), "payload": payload.decode(), "qos": message.qos}
                    note(file, json.dumps(line | {"retained": message.retain}))
        except aiomqtt.MqttError:
            await asyncio.sleep(0.1)


asyncio.run(read(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5]))
