"""Watches cameras and sends tracks of people to a service, over HTTP alone: `halflight watch`."""
