"""The HTTP service: enrol visible-light references, identify and verify near-infrared probes."""

from faces.usage_reports import turn_off

turn_off()
