"""HSST and its baselines, data sets, mask and NIR synthesis, and the synthetic subject renderer."""

from faces.usage_reports import turn_off

turn_off()
