"""MQTT discovery of Home Assistant: what makes its entities of a camera appear by themselves.

After https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery: a retained JSON message on
`<prefix>/<component>/<node id>/<object id>/config` for each entity. It names the camera and nobody whom it
saw.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from service.delivery.topics import OFFLINE, ONLINE, Message, Topics, slug

# So long an unknown face shows, unless another one comes.
SHOWN_S = 30
EVENT_TYPES = ("match", "unknown", "non-match", "uncalibrated", "undecided")


@dataclass(frozen=True, slots=True)
class Discovery:
    """`prefix`: that of Home Assistant's discovery."""

    prefix: str
    topics: Topics

    def messages(self, camera: str) -> list[Message]:
        """Every entity of a camera; to be retained."""
        parts: dict[tuple[str, str], dict[str, Any]] = {
            ("sensor", "person"): {
                "name": "Last person",
                "icon": "mdi:account",
                "value_template": "{{ value_json.person }}",
                "json_attributes_topic": self.topics.camera(camera),
                "force_update": True,
            },
            ("event", "face"): {
                "name": "Face",
                "icon": "mdi:face-recognition",
                "event_types": list(EVENT_TYPES),
            },
            ("binary_sensor", "unknown"): {
                "name": "Unknown face",
                "icon": "mdi:account-question",
                "value_template": "{{ 'ON' if value_json.event_type == 'unknown' else 'OFF' }}",
                "off_delay": SHOWN_S,
            },
        }
        node, place = f"halflight_{self.topics.node}", slug(camera)
        found = []
        for (component, kind), own in parts.items():
            payload = own | self._common(camera) | {"unique_id": f"{node}_{place}_{kind}"}
            topic = f"{self.prefix}/{component}/{node}/{place}_{kind}/config"
            found.append(Message(topic, json.dumps(payload).encode()))
        return found

    def _common(self, camera: str) -> dict[str, Any]:
        release = version("halflight")
        return {
            "state_topic": self.topics.camera(camera),
            "qos": 1,
            "availability_topic": self.topics.availability,
            "payload_available": ONLINE.decode(),
            "payload_not_available": OFFLINE.decode(),
            "device": {
                "identifiers": [f"halflight_{self.topics.node}_{slug(camera)}"],
                "name": f"Halflight {camera}",
                "manufacturer": "Halflight",
                "model": "Face identification",
                "sw_version": release,
            },
            "origin": {"name": "Halflight", "sw_version": release},
        }
