"""Sends decisions to receivers, webhooks and an MQTT broker: kept until each confirms them, tried again."""
