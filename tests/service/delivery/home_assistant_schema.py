"""What Home Assistant's documentation asks of a discovery message, written down by hand.

Home Assistant itself is not run here. Sources, in the repository home-assistant/home-assistant.io:
source/_integrations/event.mqtt.markdown (at 0271d54c), binary_sensor.mqtt.markdown (at 04987cbb),
sensor.mqtt.markdown and mqtt.markdown, whose section "MQTT Discovery" gives the topic and `origin`.
"""

from __future__ import annotations

import re
from typing import Any

# <discovery_prefix>/<component>/[<node_id>/]<object_id>/config
TOPIC = re.compile(r"homeassistant/(sensor|event|binary_sensor)/([a-zA-Z0-9_-]+)/([a-zA-Z0-9_-]+)/config")
ID = re.compile(r"[a-zA-Z0-9_-]+")
# Each variable with the type that its page states.
COMMON: dict[str, type] = {
    "availability_topic": str,
    "device": dict,
    "icon": str,
    "name": str,
    "origin": dict,
    "payload_available": str,
    "payload_not_available": str,
    "qos": int,
    "state_topic": str,
    "unique_id": str,
    "value_template": str,
}
OWN: dict[str, dict[str, type]] = {
    "sensor": {"force_update": bool, "json_attributes_topic": str},
    "event": {"event_types": list},
    "binary_sensor": {"off_delay": int},
}
REQUIRED = {
    "sensor": {"state_topic"},
    "event": {"state_topic", "event_types"},
    "binary_sensor": {"state_topic"},
}
DEVICE = {"identifiers", "name", "manufacturer", "model", "sw_version"}


def checked(topic: str, config: dict[str, Any]) -> dict[str, Any]:
    """The message, if it is one that the documentation describes."""
    found = TOPIC.fullmatch(topic)
    assert found, topic
    component = found[1]
    known = COMMON | OWN[component]
    for name, value in config.items():
        assert type(value) is known[name], name
    assert config.keys() >= REQUIRED[component]
    assert config["qos"] in (0, 1, 2)
    # A device needs a unique id, and one of identifiers and connections; an origin needs a name.
    assert ID.fullmatch(config["unique_id"])
    assert config["device"].keys() <= DEVICE
    assert config["device"]["identifiers"]
    assert config["origin"].keys() == {"name", "sw_version"}
    assert all(isinstance(one, str) and one for one in config.get("event_types", ["-"]))
    return config
